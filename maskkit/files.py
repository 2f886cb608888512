"""Helpers for files: atomic writes, checks before opening, and short reasons of errors."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_MESSAGE = 200  # characters of an error's message; some libraries put a traceback into it
_LONGEST_REASON = 250


class BadSampleError(ValueError):
    """A sample that cannot be read. ``path`` names it, ``reason`` is one short line without a full stop."""

    def __init__(self, path: str, reason: str) -> None:
        if len(reason) > _LONGEST_REASON or len(reason.splitlines()) != 1:  # it holds what a library or a file says
            reason = _one_line(reason, _LONGEST_REASON)
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # so that it crosses from a worker process
        return type(self), (self.path, self.reason)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file or folder to, then flush it to disk and rename it to ``path``.

    A reader therefore sees either the old or the new contents. After an error the old contents stay, and the temporary
    file is deleted. The folder of ``path`` must exist. A folder cannot replace one that holds files.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_file(Path(folder) / "a.txt") as aside:
    ...         _ = aside.write_text("all of it")
    ...     (Path(folder) / "a.txt").read_text()
    'all of it'
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may write the same file at once
    delete_path(aside)
    try:
        yield aside
        for file in sorted(aside.rglob("*")) if aside.is_dir() else ():
            sync(file)
        sync(aside)
        os.replace(aside, path)
    except OSError as error:  # name the file that the caller knows
        if error.filename == str(aside):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        delete_path(aside)


@contextmanager
def whole_files(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder, and afterwards move all files there beside ``path``.

    For writers that choose the format by the suffix, or write further files beside the first. After an error nothing
    has changed.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    delete_path(aside)
    aside.mkdir()
    try:
        yield aside / path.name
        for file in sorted(aside.iterdir()):
            sync(file)
            os.replace(file, path.with_name(file.name))
    finally:
        delete_path(aside)


def make_folder(path: Path) -> None:
    """Make a folder to write into, and those above it. Raises ValueError if that fails or is not allowed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        there = next(each for each in (path, *path.parents) if each.exists())
        raise ValueError(f"{there} is a file, not a folder; choose another place to write to") from None
    except OSError as error:
        raise ValueError(f"{path}: {short_reason(error)}; choose another place to write to") from None
    if not os.access(path, os.W_OK):
        raise ValueError(f"{path}: no permission to write there; choose another place to write to")


def delete_path(path: Path) -> None:
    """Delete a file or a folder with its contents. Do nothing if the path does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def short_reason(error: BaseException) -> str:
    """Return the message of an error in one line without a full stop, at most 200 characters.

    >>> short_reason(FileNotFoundError(2, "No such file or directory", "a.jpg"))
    'no such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return _one_line(str(error), _LONGEST_MESSAGE) or type(error).__name__


def _one_line(text: str, longest: int) -> str:
    words = " ".join(text.split()).rstrip(".")
    return words if len(words) <= longest else words[:longest] + " ..."


def check_readable(path: str, wanted: str = "file") -> None:
    """Raise BadSampleError unless ``path`` is an ordinary file that is not empty. ``wanted`` names the expected kind.

    Decoders report such cases with unclear errors, and opening a pipe would block forever.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadSampleError(path, short_reason(error)) from None
    except ValueError as error:  # a null byte
        raise BadSampleError(path, f"cannot be opened: {error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise BadSampleError(path, f"a folder, not a {wanted}")
    if not stat.S_ISREG(status.st_mode):
        raise BadSampleError(path, "not an ordinary file")
    if status.st_size == 0:
        raise BadSampleError(path, "empty file")
