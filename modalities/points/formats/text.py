"""Lines of x, y, z and further columns: .xyz, .pts, .txt and .asc.

Scanners, spreadsheets and CloudCompare write them. Numbers are separated by blanks, tabs, commas or semicolons. A comma
may stand before their decimals instead. A line of names before them, such as ``//X Y Z Intensity``, says what the
columns are. A line of one number counts the points.
"""

import re
from pathlib import Path

import numpy as np

from maskkit.modalities.points.cloud import Cloud
from maskkit.modalities.points.formats.ascii import plain_nan
from maskkit.modalities.points.formats.columns import cloud_of_columns, cloud_of_names, known_columns

HEADS = 32  # lines before the first point, at most
_DECIMAL_COMMA = r"[-+]?\d+(,\d+)?([eE][-+]?\d+)?"


def read(path: str) -> Cloud:
    """Read the numbers of a text file. ``cloud_of_columns`` says what columns without names are.

    What follows # is a comment, in whatever encoding, and so is a line that begins with //. Heads and counts of points
    may be repeated among the points, where several scans are joined. Raises ValueError if no line of numbers is found.
    """
    text = plain_nan(_text(path))
    lines = text.split("\n")
    start = [_without_comment(line) for line in lines[:HEADS]]
    if _has_decimal_commas(start):
        lines = text.replace(",", ".").split("\n")
        start = [line.replace(",", ".") for line in start]
    first = next((number for number, line in enumerate(start) if len(_numbers(line)) >= 3), None)
    if first is None:
        raise ValueError(f"no point in its first {HEADS} lines; write x, y and z in a line each")
    mark = next((mark for mark in ",;" if mark in start[first]), None)
    names = _column_names(start[:first], len(_numbers(start[first])))
    try:
        table = np.loadtxt(lines[first:], delimiter=mark, comments="#", ndmin=2)
    except ValueError:  # heads among the points, or marks behind them
        heads = {line for line in start[:first] if line and not _numbers(line)}
        plain = map(_without_comment, lines[first:])
        rows = [line.rstrip(mark or "") for line in plain if not _is_head(line, heads)]
        table = np.loadtxt(rows, delimiter=mark, comments=None, ndmin=2)
    return cloud_of_names(names, list(table.T)) if names else cloud_of_columns(table)


def _without_comment(line: str) -> str:
    return line.partition("#")[0].strip()


def _text(path: str) -> str:
    """Return the text of a file, whose byte order mark tells UTF-16. Lines end with a line feed."""
    content = Path(path).read_bytes()
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    return content.decode(encoding, errors="replace").replace("\r\n", "\n").replace("\r", "\n")


def _has_decimal_commas(lines: list[str]) -> bool:
    """Return whether numbers have a comma before their fraction, as spreadsheets write them in much of the world."""
    rows = [re.split(r"[\s;]+", line.strip("; ")) for line in lines if "," in line]
    whole = [row for row in rows if len(row) >= 3 and all(re.fullmatch(_DECIMAL_COMMA, word) for word in row)]
    return any("," in word for row in whole for word in row)


def _is_head(line: str, heads: set[str]) -> bool:
    """Return whether a line among the points is a comment, one of the lines before the points, or a count."""
    return line.startswith("//") or line in heads or line.isdecimal()


def _numbers(line: str) -> list[str]:
    """Return the words of a line if all of them are numbers."""
    words = [word for word in re.split(r"[\s,;]+", line) if word]
    try:
        np.array(words, dtype=np.float64)
    except ValueError:
        return []
    return words


def _column_names(heads: list[str], width: int) -> list[str]:
    """Return the names of the columns if the last line of text before the points names x, y and z, and all others."""
    texts = [line for line in heads if line and not _numbers(line)]
    words = re.split(r"[\s,;]+", texts[-1].strip("/ ")) if texts else []
    return words if len(words) == width and {"x", "y", "z"} <= known_columns(words).keys() else []
