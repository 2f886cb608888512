"""List files: lines, tables or JSON with a path and an optional label per sample."""

import codecs
import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from maskkit.data.paths import Entry, Paths, paths_of
from maskkit.files import parse_json, short_reason

LISTS = (".txt", ".csv", ".tsv", ".lst", ".list", ".json")

# Names of csv columns and json keys, in the order of preference. "wav" is AudioSet's.
_PATH_NAMES = ("path", "filepath", "file_path", "file", "filename", "file_name", "image", "video", "audio", "wav")

_LABEL_NAMES = ("label", "labels", "class", "category", "target")

_LONGEST_LINE = 8192  # Linux ends a path at 4096 bytes; the rest is room for labels

_GAP = re.compile(r"\s*[\s,;]\s*")  # between a path and its label

_QUOTED = re.compile(r'"((?:[^"]|"")+)"(?:\s*[\s,;]\s*(.*))?')


def is_list(where: str, endings: tuple[str, ...]) -> bool:
    """Return whether a file is a list of samples."""
    if not where.lower().endswith(LISTS):
        return False
    if not where.lower().endswith(endings):
        return True
    # Samples may be .txt too (point clouds are). It is a list if its first line names a file that exists.
    lines = (line for _, line in _lines(where))
    first = next(lines, "")
    return bool(first) and os.path.exists(_parse(first, os.path.dirname(where), endings)[0])


def from_list(where: str, endings: tuple[str, ...]) -> Paths:
    """Return the paths and labels that a list names. Raises ValueError if it names none."""
    read = _json_entries if where.lower().endswith(".json") else _text_entries
    entries = list(read(where, endings))
    if not entries:
        raise ValueError(f"{where}: the list names no files; write one path per line, and optionally a label after it")
    return paths_of(entries)


def _text(where: str) -> str:
    try:
        raw = Path(where).read_bytes()
        wide = raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = raw.decode("utf-16") if wide else raw.decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        message = f"{where}: cannot read the list ({short_reason(error)}); fix its permissions or name another"
        raise ValueError(message) from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise ValueError(f"{where}: not a text file; a list has one path per line")
    return text


def _lines(where: str) -> Iterator[tuple[int, str]]:
    """Yield the non-empty lines with their numbers."""
    # not splitlines(), which also splits at characters that are allowed in file names
    for number, line in enumerate(re.split(r"\r\n|\n|\r", _text(where)), start=1):
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"{where}: line {number} is longer than any path; a list has one path per line")
        if (line := line.strip()) and not line.startswith("#"):
            yield number, line


def _text_entries(where: str, endings: tuple[str, ...]) -> Iterator[Entry]:
    folder = os.path.dirname(where)
    columns = None
    for position, (_, line) in enumerate(_lines(where)):
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
    """The columns of paths and labels, from a header line."""

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
    """Split a line into path and label. Both may contain blanks and commas, so existing files decide."""
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
    """Return the location of a listed path, beside the list or in the working directory, and whether it exists."""
    beside = os.path.join(folder, name)
    if os.path.exists(beside):
        return beside, True
    return (name, True) if os.path.exists(name) else (beside, False)


def _json_entries(where: str, endings: tuple[str, ...]) -> Iterator[Entry]:
    text = _text(where)
    try:
        found = parse_json(text)
    except ValueError as error:
        raise ValueError(f"{where}: not valid JSON ({error}); fix or rewrite it") from None
    if isinstance(found, dict):
        found = found.get("data")
    if not isinstance(found, list):
        raise ValueError(f'{where}: holds no list of files; write ["a", "b"] or {{"data": [{{"path": "a"}}]}}')
    folder = os.path.dirname(where)
    for number, item in enumerate(found, start=1):
        path, label = _json_entry(item)
        if not isinstance(path, str) or not path:
            raise ValueError(f'{where}: entry {number} names no file; write it as {{"path": "a", "label": "b"}}')
        # Absolute paths are not checked: a million checks on a network disk take minutes.
        yield path if os.path.isabs(path) else _locate(path, folder)[0], label


def _json_entry(item: object) -> tuple[object, str | None]:
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
