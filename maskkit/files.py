"""Helpers for files: atomic writes, JSON, checks before opening, and short reasons of errors."""

import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LONGEST_MESSAGE = 200  # characters of an error's message; some libraries put a traceback into it
_LONGEST_REASON = 250
_DEEPEST_JSON = 100  # levels; a model has about ten, and much deeper values end in Python's limit of recursion


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
    except OSError as error:
        _name(error, path, aside)
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
    except OSError as error:
        _name(error, path, aside)
        raise
    finally:
        delete_path(aside)


def _name(error: OSError, path: Path, aside: Path) -> None:
    """Name the file that the user knows in an error that names a temporary one or, as on a full disk, none."""
    nameless = error.filename is None and error.errno is not None
    if nameless or str(error.filename).startswith(str(aside)):
        error.filename, error.filename2 = str(path), None


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


def read_json(path: Path, *, unique_keys: bool = False) -> object:
    """Return the contents of a JSON file, as ``parse_json`` does. Raises OSError for a file that cannot be read."""
    return parse_json(path.read_bytes(), unique_keys=unique_keys)


def read_json_lines(path: Path) -> list[dict[str, object]]:
    """Return the objects of a file of JSON lines. Lines that hold none, such as one that was cut off, are left out."""
    found = []
    for line in path.read_bytes().splitlines():
        try:
            found.append(parse_json(line))
        except ValueError:
            continue
    return [each for each in found if isinstance(each, dict)]


def parse_json(text: str | bytes, *, unique_keys: bool = False) -> object:
    """Return the value of a JSON text. Raises ValueError, with a short reason that names no file, for any other text.

    JSON deeper than 100 levels is refused, and with ``unique_keys`` an object that has a key twice.

    >>> parse_json('{"a": [1, 2]}')
    {'a': [1, 2]}
    """
    try:
        found: object = json.loads(text, object_pairs_hook=_unique if unique_keys else None)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    except RecursionError:
        raise ValueError(f"it is nested deeper than {_DEEPEST_JSON} levels") from None
    level = [found]
    for _ in range(_DEEPEST_JSON):
        level = [inner for each in level if isinstance(each, dict | list) for inner in _items(each)]
        if not level:
            return found
    raise ValueError(f"it is nested deeper than {_DEEPEST_JSON} levels")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice in an object")
    return found


def _items(value: dict[str, object] | list[object]) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value


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
