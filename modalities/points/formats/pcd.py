"""PCD, the format of the Point Cloud Library, version 0.7: ASCII, binary, or compressed by LZF.

Format: https://pointclouds.org/documentation/tutorials/pcd_file_format.html
"""

import os
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskkit.data.limits import check_decoded
from maskkit.modalities.points.cloud import Array, Cloud, scale_integers
from maskkit.modalities.points.formats import lzf
from maskkit.modalities.points.formats.ascii import parse_numbers
from maskkit.modalities.points.formats.columns import cloud_of_names, known_columns
from maskkit.modalities.points.formats.headers import check_counts, check_room, read_head

NORMALS = ("normal_x", "normal_y", "normal_z")
_SIZES = {"F": (4, 8), "I": (1, 2, 4, 8), "U": (1, 2, 4, 8)}


@dataclass(frozen=True)
class Field:
    """A column: its name, numpy type, and how many numbers it has a point."""

    name: str
    kind: str
    count: int


@dataclass(frozen=True)
class Header:
    """A checked header; ``data`` is ascii, binary or binary_compressed, ``start`` where it begins, in bytes."""

    fields: tuple[Field, ...]
    points: int
    data: str
    start: int

    @property
    def width(self) -> int:
        """Bytes a point."""
        return sum(np.dtype(field.kind).itemsize * field.count for field in self.fields)


def read(path: str) -> Cloud:
    """Read a PCD file. Fields beside positions, normals, colours and intensity are left out."""
    header = read_header(path)
    check_decoded(path, header.points * header.width * 2, f"{header.points} points")  # widened to float64
    with open(path, "rb") as file:
        file.seek(header.start)
        content = file.read()
    readers = {"ascii": _ascii, "binary": _binary, "binary_compressed": _compressed}
    return _cloud([field.name for field in header.fields], readers[header.data](content, header))


def read_header(path: str) -> Header:
    """Parse and check a header. Raises ValueError if it is no PCD header, or where its numbers cannot be true."""
    head = read_head(path)
    match = re.search(rb"^DATA[ \t]+(\w+)[ \t]*\r?\n", head, flags=re.MULTILINE)
    lines = re.findall(rb"^([A-Z]+)[ \t]+(.*?)\r?$", head[: match.start()] if match else b"", flags=re.MULTILINE)
    entries = {name.decode(): value.decode("ascii", errors="replace").split() for name, value in lines}
    if "COLUMNS" in entries:  # the name in version 0.5
        entries.setdefault("FIELDS", entries["COLUMNS"])
    if match is None or not entries.get("POINTS") or not entries.get("FIELDS"):
        raise ValueError("no PCD file: it does not begin with a PCD header")
    data = match[1].decode("ascii", errors="replace")
    if data not in ("ascii", "binary", "binary_compressed"):
        raise ValueError(f"its header has the unknown DATA {data}")
    for name in ("POINTS", "WIDTH", "HEIGHT"):
        for word in entries.get(name, []):
            if not (word.isascii() and word.isdigit()):
                raise ValueError(f"its header has {name} {word!r}, not a number")
    points = int(entries["POINTS"][0])
    header = Header(_fields(entries), points, data, match.end())
    if data != "binary_compressed":
        check_counts(path, {"points": points})
    elif points > 200 * os.path.getsize(path):
        raise ValueError(f"its header counts {points} points, which its size cannot hold")
    if entries.get("WIDTH") and entries.get("HEIGHT"):
        if int(entries["WIDTH"][0]) * int(entries["HEIGHT"][0]) != points:
            raise ValueError("its header's WIDTH times HEIGHT is not POINTS")
    return header


def _fields(entries: dict[str, list[str]]) -> tuple[Field, ...]:
    names = entries["FIELDS"]
    sizes, types = entries.get("SIZE", ["4"] * len(names)), entries.get("TYPE", ["F"] * len(names))
    counts = entries.get("COUNT", ["1"] * len(names))
    if len({len(names), len(sizes), len(types), len(counts)}) > 1:
        raise ValueError("its header's FIELDS, SIZE, TYPE and COUNT differ in number")
    for what, words in (("SIZE", sizes), ("COUNT", counts)):
        if not all(word.isascii() and word.isdigit() and 0 < int(word) <= 4096 for word in words):
            raise ValueError(f"its header has a {what} that is no small number")
    fields = []
    for name, kind, size, count in zip(names, map(str.upper, types), map(int, sizes), map(int, counts), strict=True):
        if size not in _SIZES.get(kind, ()):
            raise ValueError(f"its header has a field of unknown TYPE {kind} and SIZE {size}")
        fields.append(Field(name, f"<{kind.lower()}{size}", count))
    if not {"x", "y", "z"} <= known_columns(names).keys():
        raise ValueError("its points have no x, y and z")
    return tuple(fields)


Columns = list[NDArray[np.generic]]


def _ascii(content: bytes, header: Header) -> Columns:
    """Read one line of numbers per point."""
    wanted = header.points * sum(field.count for field in header.fields)
    table = parse_numbers(content, wanted).reshape(header.points, -1)
    columns: Columns = []
    place = 0
    for field in header.fields:
        columns.append(table[:, place].astype(field.kind))
        place += field.count
    return columns


def _binary(content: bytes, header: Header) -> Columns:
    """Read one record a point."""
    check_room("points", header.points, header.width, len(content))
    # Padding fields are all called "_", so fields are numbered.
    kind = np.dtype([(str(place), field.kind, (field.count,)) for place, field in enumerate(header.fields)])
    records = np.frombuffer(content, dtype=kind, count=header.points)
    return [records[str(place)][:, 0] for place in range(len(header.fields))]


def _compressed(content: bytes, header: Header) -> Columns:
    """Read one block, which holds field after field: all x, then all y ..."""
    check_room("sizes", 2, 4, len(content))
    packed, size = (int(number) for number in np.frombuffer(content, dtype="<u4", count=2))
    check_room("compressed", packed, 1, len(content) - 8)
    if size != header.points * header.width:
        raise ValueError(f"its compressed data claim {size} bytes, not {header.points} points of {header.width}")
    block = lzf.decompress(content[8 : 8 + packed], size)
    columns: Columns = []
    place = 0
    for field in header.fields:
        values = np.frombuffer(block, dtype=field.kind, count=header.points * field.count, offset=place)
        columns.append(values.reshape(header.points, field.count)[:, 0])
        place += values.nbytes
    return columns


def _cloud(names: list[str], columns: Columns) -> Cloud:
    cloud = cloud_of_names(names, columns)
    packed = next((column for name, column in zip(names, columns, strict=True) if name in ("rgb", "rgba")), None)
    if packed is not None and packed.dtype.itemsize == 4:
        cloud.features["colours"] = _unpack_colours(packed)
    return cloud


def _unpack_colours(packed: NDArray[np.generic]) -> Array:
    """Return colours in 0..1 of 0xRRGGBB, which PCL writes as an integer or as the float with the same bits."""
    bits = np.ascontiguousarray(packed).view(np.uint32)
    return scale_integers(np.stack([bits >> 16 & 255, bits >> 8 & 255, bits & 255], axis=1).astype(np.uint8))
