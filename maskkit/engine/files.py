"""Turn what a user names (a folder, a glob, a list, one file) into an array of paths, with labels where there are any.

Nothing here opens a sample. A path that turns out missing or broken is a bad sample when it is read, not an error now;
what is an error now is a place that holds no samples at all.
"""

import codecs
import csv
import glob
import heapq
import json
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from maskkit.engine.data import BadSampleError
from maskkit.engine.tars import expand_shards, names_shards, open_tars

LISTS = (".txt", ".csv", ".tsv", ".lst", ".list", ".json")

# What columns of a csv and keys of a json are called, in the order they are looked for. "wav" is AudioSet's.
_PATH_NAMES = ("path", "filepath", "file_path", "file", "filename", "file_name", "image", "video", "audio", "wav")
_LABEL_NAMES = ("label", "labels", "class", "category", "target")

_LONGEST_LINE = 8192  # Linux ends a path at 4096 bytes; the rest is room for labels
_GAP = re.compile(r"\s*[\s,;]\s*")  # between a path and its label
_QUOTED = re.compile(r'"((?:[^"]|"")+)"(?:\s*[\s,;]\s*(.*))?')

Entry = tuple[str, str | None]  # a path and its label


class Files(Protocol):
    """Samples that lie in files, or in members of tar shards: what a modality's source reads from.

    Tar shards have an ``order`` as well (see ``engine.data.Source``), which a source hands on.
    """

    def __len__(self) -> int:
        """Return the number of files, broken ones included."""

    def path(self, index: int) -> str:
        """Name file ``index``."""

    def label(self, index: int) -> str | None:
        """Return the class name of file ``index``, None where nothing names one."""

    def open(self, index: int) -> BinaryIO:
        """Open file ``index`` as a stream that can seek. Raises BadSampleError where there is nothing to read."""

    def local(self, index: int) -> AbstractContextManager[str]:
        """Give file ``index`` a path inside ``with``, for libraries that take nothing else. Raises as ``open`` does."""

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` indices, evenly spread, to judge all files by."""


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """What sources of samples that lie in files have in common: an abstract ``engine.data.Source``."""

    files: Files

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        """Return the file of sample ``index``."""
        return self.files.path(index)

    def label(self, index: int) -> str | None:
        """Return its class, where a sub-folder or a list names one."""
        return self.files.label(index)

    @property
    def order(self) -> Callable[[int, int], NDArray[np.int64]] | None:
        """The order in which an epoch visits the samples, where the files have one of their own (tar shards)."""
        return getattr(self.files, "order", None)


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths with their labels, in arrays.

    Arrays, because a forked worker that merely looks at a Python object writes its reference count, and so copies a
    list of a million paths page by page. ``labels`` index ``classes``; -1 is a file without one among labelled files.
    """

    paths: NDArray[np.bytes_]
    labels: NDArray[np.int32] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> str:
        """Return path ``index``; bytes that are no UTF-8 survive the round trip to the file system."""
        return os.fsdecode(self.paths[index])

    def label(self, index: int) -> str | None:
        """Return the class name of file ``index``, None where nothing names one."""
        if self.labels is None or self.labels[index] < 0:
            return None
        return self.classes[int(self.labels[index])]

    def open(self, index: int) -> BinaryIO:
        """Open file ``index``. Raises BadSampleError."""
        return open_file(self.path(index))

    @contextmanager
    def local(self, index: int) -> Iterator[str]:
        """Return the path itself. Raises BadSampleError."""
        path = self.path(index)
        _check_file(path, "file")
        yield path

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` indices, evenly spread."""
        picked: list[int] = np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int).tolist()
        return picked


def open_file(path: str, wanted: str = "file") -> BinaryIO:
    """Open a file that samples are read from. Raises BadSampleError where there is nothing to read."""
    _check_file(path, wanted)
    try:
        return open(path, "rb")
    except OSError as error:
        raise BadSampleError(path, _reason(error)) from None


def _check_file(path: str, wanted: str) -> None:
    """Say what is plain before a decoder says it worse; and opening a pipe would wait for ever."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise BadSampleError(path, _reason(error)) from None
    except ValueError as error:  # a null byte
        raise BadSampleError(path, f"cannot be opened: {error}") from None
    if stat.S_ISDIR(status.st_mode):
        raise BadSampleError(path, f"a folder, not a {wanted}")
    if not stat.S_ISREG(status.st_mode):
        raise BadSampleError(path, "not an ordinary file")
    if status.st_size == 0:
        raise BadSampleError(path, "empty file")


def _reason(error: OSError) -> str:
    message = error.strerror or str(error)
    return message[:1].lower() + message[1:]  # "no such file or directory", "permission denied"


def find_files(where: str | Path, suffixes: Collection[str]) -> Files:
    """List the files that ``where`` names; ``suffixes`` (``.jpg``; case does not matter) say which ones are samples.

    A folder is searched through, in sorted order, hidden files aside, and each folder in it once even where links make
    loops. Labels are the sub-folders of the first level, unless a file lies beside those: then there are none.
    A glob (``*``, ``?``, ``[``, and ``**`` for any depth) is searched alike, a folder that matches with all it holds;
    labels are the first level below the part without wildcards.
    A list (``.txt``, ``.csv``, ``.tsv``, ``.lst``, ``.list``, ``.json``) keeps its order, and every entry counts,
    whatever its suffix: a path, then a label if there is one. Relative paths start at the list's folder, else at the
    working directory. ``#`` starts a comment line.
    Tar shards (``.tar``; see engine/tars.py) are one shard, a range (``shards-{000..099}.tar``, ``{a,b}``), a glob, a
    folder that holds shards and no samples, or the same at an address (``s3://bucket/shards-{000..099}.tar``).
    """
    place = os.path.expanduser(os.fspath(where))
    endings = tuple(sorted(suffix.lower() for suffix in suffixes))
    assert endings and all(ending.startswith(".") for ending in endings), f"suffixes start with a dot, got {endings}"
    if not place:
        raise ValueError("the path of the data is empty; name a folder, a glob, a list, a file or tar shards")
    if os.path.isdir(place):
        root = place.rstrip("/") or "/"
        return _from_found(_walk(root), place, root, endings)
    if os.path.exists(place):  # before globs, since a file may well be called "cat [1].jpg"
        if place.lower().endswith(".tar"):
            return open_tars(place, [place], endings)
        return _from_list(place, endings) if _is_list(place, endings) else _from_file(place, endings)
    if names_shards(place):
        return open_tars(place, expand_shards(place), endings)
    if glob.has_magic(place):
        pattern, root = _rooted(place)
        return _from_found(_expand(pattern), place, root, endings)
    raise ValueError(f"{place}: no such file or folder, or no permission to see it; check the path of the data")


# Folders and globs


def _walk(root: str) -> Iterator[str]:
    """Find all files below root. Links wait until real folders are done: what is reached twice counts where it is."""
    folders, links, seen = [root], list[str](), set[str]()
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        real = os.path.realpath(folder)  # not the inode number, which some network file systems make up
        if real in seen:
            continue
        seen.add(real)
        for entry in _entries(folder):
            if not _is_folder(entry):
                # A dangling link passes: it is a sample that cannot be read, and is told as one. Pipes do not.
                if entry.is_symlink() or entry.is_file():
                    yield entry.path
            elif entry.is_symlink():
                heapq.heappush(links, entry.path)
            else:
                folders.append(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            # lost+found belongs to the file system, and only root may look into it
            return [entry for entry in entries if not entry.name.startswith(".") and entry.name != "lost+found"]
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{folder}: cannot look into the folder ({reason}); mend its rights or move it away") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _rooted(pattern: str) -> tuple[str, str]:
    """Return the pattern, and the folders it starts with that hold no wildcard."""
    if glob.has_magic(pattern.split("/")[0]):
        pattern = f"./{pattern}"
    parts = pattern.rstrip("/").split("/")
    first = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts), "/".join(parts[:first]) or "/"


def _expand(pattern: str) -> set[str]:
    """Find all files that match, or lie in a folder that does. ``**`` is walked here: glob's own is caught in links."""
    parts = pattern.split("/")
    deep = parts.index("**") if "**" in parts else len(parts)
    found = set[str]()
    for start in glob.glob("/".join(parts[:deep]) or "/"):
        if os.path.isdir(start):
            skip = len(start.rstrip("/")) + 1
            found.update(path for path in _walk(start) if _fits(path[skip:].split("/"), parts[deep:]))
        elif deep == len(parts):
            found.add(start)
    return found


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the path or one of its folders matches."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts)))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])


def _from_found(found: Collection[str] | Iterator[str], place: str, root: str, endings: tuple[str, ...]) -> Files:
    """Take what ends as samples do; where nothing does, tar shards."""
    kept, shards, others = list[str](), list[str](), Counter[str]()
    for path in found:
        if path.lower().endswith(endings):
            kept.append(path)
        elif path.lower().endswith(".tar"):
            shards.append(path)
        else:
            others[os.path.splitext(path)[1].lower() or "no suffix"] += 1
    if kept:
        return _from_folder(sorted(kept, key=os.fsencode), root)
    if shards:
        return open_tars(place, sorted(shards, key=os.fsencode), endings)
    if not others:
        what = "nothing matches this pattern" if glob.has_magic(place) else "the folder holds no files"
        raise ValueError(f"{place}: {what} (hidden ones do not count); put files there or correct the path")
    there = ", ".join(suffix for suffix, _ in others.most_common(5))
    raise ValueError(
        f"{place}: none of its {others.total()} files ends in {', '.join(endings)} (found {there}); "
        "correct the path, convert the files, or name them in a list file"
    )


def _from_folder(paths: list[str], root: str) -> Paths:
    skip = len(root.rstrip("/")) + 1
    insides = [path[skip:].split("/", 1) for path in paths]
    flat = any(len(inside) == 1 for inside in insides)
    return _files([(path, None if flat else inside[0]) for path, inside in zip(paths, insides, strict=True)])


def _from_file(place: str, endings: tuple[str, ...]) -> Paths:
    suffix = os.path.splitext(place)[1].lower()
    if suffix and not place.lower().endswith(endings):  # a file without any suffix may be anything, so it is tried
        raise ValueError(f"{place}: ends in none of {', '.join(endings)}; convert it, or name it in a list file")
    return _files([(place, None)])


def _files(entries: Sequence[Entry]) -> Paths:
    paths = np.array([os.fsencode(path) for path, _ in entries])
    names = {label for _, label in entries if label is not None}
    # Class numbers keep their numeric order, so that class 10 does not come before class 2.
    numbers = all(name.isdecimal() for name in names)
    classes = tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))
    if not classes:
        return Paths(paths, None, ())
    position = {name: i for i, name in enumerate(classes)}
    labels = [-1 if label is None else position[label] for _, label in entries]
    return Paths(paths, np.array(labels, dtype=np.int32), classes)


# Lists


def _is_list(place: str, endings: tuple[str, ...]) -> bool:
    if not place.lower().endswith(LISTS):
        return False
    if not place.lower().endswith(endings):
        return True
    # Samples may be .txt too (point clouds are). It is a list if its first line names a file that exists.
    lines = (line for _, line in _lines(place))
    first = next(lines, "")
    return bool(first) and os.path.exists(_parse(first, os.path.dirname(place), endings)[0])


def _from_list(place: str, endings: tuple[str, ...]) -> Paths:
    read = _json_entries if place.lower().endswith(".json") else _text_entries
    entries = list(read(place, endings))
    if not entries:
        raise ValueError(f"{place}: the list names no files; write one path a line, and a label after it if it has one")
    return _files(entries)


def _text(place: str) -> str:
    try:
        raw = Path(place).read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16") if wide else raw.decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ValueError(f"{place}: cannot read the list ({reason}); mend its rights or name another") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{place}: not a text file; a list has one path a line")
    return text


def _lines(place: str) -> Iterator[tuple[int, str]]:
    """Lines that say something, with their numbers."""
    # not splitlines(), which also cuts at characters that a file name may hold
    for number, line in enumerate(re.split(r"\r\n|\n|\r", _text(place)), start=1):
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"{place}: line {number} is longer than any path; a list has one path a line")
        if (line := line.strip()) and not line.startswith("#"):
            yield number, line


def _text_entries(place: str, endings: tuple[str, ...]) -> Iterator[Entry]:
    folder = os.path.dirname(place)
    columns = None
    for position, (_, line) in enumerate(_lines(place)):
        if position == 0 and (columns := _header(line, folder)):
            continue
        cells = next(csv.reader([line], delimiter=columns.gap, skipinitialspace=True)) if columns else []
        if columns and len(cells) == columns.count:
            label = cells[columns.label].strip() if columns.label is not None else ""
            yield _locate(cells[columns.path].strip(), folder)[0], label or None
        else:
            yield _parse(line, folder, endings)


@dataclass(frozen=True)
class _Columns:
    """Where a header line says that paths and labels stand."""

    gap: str
    count: int
    path: int
    label: int | None


def _header(line: str, folder: str) -> _Columns | None:
    gap = next((mark for mark in "\t,;" if mark in line), " ")
    cells = [cell.strip().strip('"') for cell in line.split(gap)]
    words = [cell.lower() for cell in cells]
    path = next((words.index(name) for name in _PATH_NAMES if name in words), None)
    label = next((words.index(name) for name in _LABEL_NAMES if name in words), None)
    named = all(re.fullmatch(r"[\w -]*", word) for word in words)  # a dot or a slash is a path's
    if path is None or not named or _locate(line, folder)[1] or _locate(cells[path], folder)[1]:
        return None
    return _Columns(gap, len(words), path, label)


def _parse(line: str, folder: str, endings: tuple[str, ...]) -> Entry:
    """Split a line into path and label. Both may hold blanks and commas, so the file system has the say."""
    path, exists = _locate(line, folder)
    if exists or line.lower().endswith(endings):
        return path, None
    if quoted := _QUOTED.fullmatch(line):
        return _locate(quoted[1].replace('""', '"'), folder)[0], _unquoted(quoted[2] or "")
    for gap in reversed([*_GAP.finditer(line)]):
        head = line[: gap.start()]
        cut, exists = _locate(head, folder)
        if head and (exists or head.lower().endswith(endings)):
            return cut, _unquoted(line[gap.end() :])
    return path, None


def _unquoted(label: str) -> str | None:
    if len(label) > 1 and label[0] == label[-1] == '"':
        label = label[1:-1].replace('""', '"')
    return label.strip() or None


def _locate(name: str, folder: str) -> tuple[str, bool]:
    """Where a listed path lies, and whether it exists: beside the list first, then in the working directory."""
    beside = os.path.join(folder, name)
    if os.path.exists(beside):
        return beside, True
    return (name, True) if os.path.exists(name) else (beside, False)


def _json_entries(place: str, endings: tuple[str, ...]) -> Iterator[Entry]:
    try:
        found = json.loads(_text(place))
    except json.JSONDecodeError as error:
        raise ValueError(f"{place}: not valid JSON (line {error.lineno}: {error.msg}); mend or rewrite it") from None
    if isinstance(found, dict):
        found = found.get("data")
    if not isinstance(found, list):
        raise ValueError(f'{place}: holds no list of files; write ["a", "b"] or {{"data": [{{"path": "a"}}]}}')
    folder = os.path.dirname(place)
    for number, item in enumerate(found, start=1):
        path, label = _json_entry(item)
        if not isinstance(path, str) or not path:
            raise ValueError(f'{place}: entry {number} names no file; write it as {{"path": "a", "label": "b"}}')
        # Whether an absolute path exists changes nothing, and a million questions to a network disk take minutes.
        yield path if os.path.isabs(path) else _locate(path, folder)[0], label


def _json_entry(item: Any) -> tuple[Any, str | None]:
    if isinstance(item, dict):
        lower = {str(key).lower(): value for key, value in item.items()}
        path = next((lower[name] for name in _PATH_NAMES if name in lower), None)
        label = next((lower[name] for name in _LABEL_NAMES if name in lower), None)
    elif isinstance(item, list) and len(item) == 2:
        path, label = item
    else:
        path, label = item, None
    if isinstance(label, list):
        label = ",".join(str(part) for part in label)
    return path, None if label is None else str(label).strip() or None
