"""Files of any kind: written whole or not at all, looked at before they are opened, and errors about them in short."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_REASON = 200  # characters; some libraries put a traceback into a message


class BadSampleError(ValueError):
    """A sample that cannot be read. ``path`` says which, ``reason`` says why, in one line without a full stop."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # so that it crosses from a worker process
        return type(self), (self.path, self.reason)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside ``path`` to write a file or a folder to, then flush it to disk and rename it to ``path``.

    A reader therefore sees the old contents or the new ones, never a part. After an error the old contents stay, and
    what was written is deleted. The folder of ``path`` must exist; a folder cannot replace one that holds files.

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
    finally:
        delete_path(aside)


def delete_path(path: Path) -> None:
    """Delete a file, or a folder with all it holds; do nothing where there is neither."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flush a file, or the list of names in a folder, to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def short_reason(error: BaseException) -> str:
    """Return what went wrong in one line without a full stop, at most 200 characters.

    >>> short_reason(FileNotFoundError(2, "No such file or directory", "a.jpg"))
    'no such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    words = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return words if len(words) <= _LONGEST_REASON else words[:_LONGEST_REASON] + " ..."


def check_readable(path: str, wanted: str = "file") -> None:
    """Raise BadSampleError unless ``path`` is an ordinary file that holds something; ``wanted`` names what is expected.

    Decoders report such cases badly, and opening a pipe would wait for ever.
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
