"""Lines of x, y, z and further columns: .xyz, .pts, .txt and .asc.

Scanners, spreadsheets and CloudCompare write them. Numbers are separated by blanks, tabs, commas or semicolons. A line
of names before them, such as ``//X Y Z Intensity``, says what the columns are. A line of one number counts the points.
"""

import itertools
import re
from collections.abc import Iterable

import numpy as np

from maskkit.modalities.points.cloud import Array, Cloud, scale_integers
from maskkit.modalities.points.formats.columns import cloud_of_columns

HEADS = 32  # lines before the first point, at most

# Names of columns in lower case without signs, as CloudCompare, PCL, PDAL and spreadsheets write them.
_NAMES = {
    "x": ("x", "posx", "coordx", "easting"),
    "y": ("y", "posy", "coordy", "northing"),
    "z": ("z", "posz", "coordz", "height", "elevation"),
    "nx": ("nx", "normalx"),
    "ny": ("ny", "normaly"),
    "nz": ("nz", "normalz"),
    "red": ("r", "red", "rf"),
    "green": ("g", "green", "gf"),
    "blue": ("b", "blue", "bf"),
    "intensity": ("intensity", "i", "reflectance"),
}
_FEATURES = {"normals": ("nx", "ny", "nz"), "colours": ("red", "green", "blue"), "intensity": ("intensity",)}


def read(path: str) -> Cloud:
    """Read the numbers of a text file. ``cloud_of_columns`` says what columns without names are.

    What follows # is a comment, in whatever encoding. Raises ValueError if no line of numbers is found.
    """
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        lines = [line.partition("#")[0].strip() for line in itertools.islice(file, HEADS)]
        first = next((number for number, line in enumerate(lines) if len(_numbers(line)) >= 3), None)
        if first is None:
            raise ValueError(f"no point in its first {HEADS} lines; write x, y and z in a line each")
        file.seek(0)
        mark = next((mark for mark in ",;" if mark in lines[first]), None)
        names = _column_names(lines[:first], len(_numbers(lines[first])))
        rows: Iterable[str] = (line.rstrip().rstrip(mark or "") for line in file)
        table = np.loadtxt(rows, delimiter=mark, comments="#", skiprows=first, ndmin=2)
    return _named(table, names) if names else cloud_of_columns(table)


def _numbers(line: str) -> list[str]:
    """Return the words of a line if all of them are numbers."""
    words = [word for word in re.split(r"[\s,;]+", line) if word]
    try:
        np.array(words, dtype=np.float64)
    except ValueError:
        return []
    return words


def _column_names(heads: list[str], width: int) -> dict[str, int]:
    """Return the columns by our names if the last line of text before the points names x, y and z, and all others."""
    texts = [line for line in heads if line and not _numbers(line)]
    words = re.split(r"[\s,;]+", texts[-1].strip("/ ").lower()) if texts else []
    plain = [re.sub(r"[^a-z]", "", word) for word in words]
    if len(plain) != width:
        return {}
    found = {name: plain.index(alias) for name, known in _NAMES.items() for alias in known if alias in plain}
    return found if {"x", "y", "z"} <= found.keys() else {}


def _named(table: Array, names: dict[str, int]) -> Cloud:
    features: dict[str, Array] = {}
    for feature, columns in _FEATURES.items():
        if set(columns) <= names.keys():
            values = table[:, [names[column] for column in columns]]
            features[feature] = scale_integers(values) if feature == "colours" else values
    return Cloud(table[:, [names[axis] for axis in "xyz"]], features)
