"""PLY: a header of elements and their properties, then ASCII numbers or packed records.

A file of vertices is read by numpy, one with faces by trimesh. Turk 1994, "The PLY Polygon File Format".
"""

import os
import re
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskkit.modalities.points.cloud import Cloud
from maskkit.modalities.points.formats import mesh, with_open3d
from maskkit.modalities.points.formats.ascii import parse_numbers
from maskkit.modalities.points.formats.columns import cloud_of_names, known_columns
from maskkit.modalities.points.formats.headers import check_counts, check_room, read_head

_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    "int64": "i8",
    "uint64": "u8",
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
_END = re.compile(rb"^end_header[ \t]*(\r\n|\r|\n)", re.MULTILINE)


@dataclass(frozen=True)
class Element:
    """A kind of record: its name, how many there are, and the fields of one, as (name, numpy type)."""

    name: str
    count: int
    fields: tuple[tuple[str, str], ...]
    has_lists: bool = False
    """Whether a property is a list, so that records differ in size; such properties are not in ``fields``."""


@dataclass(frozen=True)
class Header:
    """A checked header.

    ``byte_order`` is empty for ASCII, ``start`` is where the elements begin, and ``longest`` the length of the longest
    line, in bytes.
    """

    elements: tuple[Element, ...]
    byte_order: str
    start: int
    longest: int

    @property
    def is_open3ds(self) -> bool:
        """Whether open3d may read the file. Its parser writes beyond its memory over lines of 1024 bytes."""
        return self.longest < 1000

    def count(self, name: str) -> int:
        """Return how many elements of a name there are."""
        return sum(element.count for element in self.elements if element.name == name)


def read(path: str) -> Cloud:
    """Read a PLY file: a cloud, or a mesh where it has faces."""
    header = read_header(path)
    if header.count("face"):
        return _with_features(mesh.read(path, _plain(path, header)), path, header)
    before = list(takewhile(lambda element: element.name != "vertex", header.elements))
    vertex = header.elements[len(before)]
    if vertex.has_lists or any(element.has_lists for element in before):
        if not header.is_open3ds:
            raise ValueError(f"a line of its header has {header.longest} characters, too many for open3d; shorten it")
        return with_open3d.read(path)  # records of differing size before or among the vertices
    return _vertices(path, header, before, vertex)


def _with_features(found: Cloud, path: str, header: Header) -> Cloud:
    """Return a mesh of trimesh, which keeps no features but colours, with those of the vertices."""
    if header.elements[0].name != "vertex" or header.elements[0].has_lists:
        return found
    own = _vertices(path, header, [], header.elements[0])
    # trimesh may leave out or divide vertices, by the seams of a texture.
    return found if own.xyz.shape != found.xyz.shape else replace(found, features=own.features)


def _vertices(path: str, header: Header, before: list[Element], vertex: Element) -> Cloud:
    read_columns = _binary if header.byte_order else _ascii
    return cloud_of_names([name for name, _ in vertex.fields], read_columns(path, header, before, vertex))


def _plain(path: str, header: Header) -> bytes:
    """Return the file as trimesh expects it: no comments in its header, and names in lower case."""
    content = Path(path).read_bytes()
    lines = content[: header.start].splitlines(keepends=True)
    kept = [line.lower() for line in lines if not line.startswith((b"comment", b"obj_info"))]
    return b"".join(kept) + content[header.start :]


def read_header(path: str) -> Header:
    """Parse and check a header. Raises ValueError if it is no PLY header, or where its counts cannot be true."""
    content = read_head(path)
    end = _END.search(content if b"\n" in content else content.replace(b"\r", b"\n"))  # Mac OS's line ends
    head = content[: end.start()] if end else b""
    if not head.startswith(b"ply") or end is None:
        raise ValueError("no PLY file: it does not begin with a PLY header")
    lines = [line.split() for line in head.decode("ascii", errors="replace").splitlines()]
    kind = next((words[1] for words in lines if words[:1] == ["format"] and len(words) > 1), "")
    if kind not in _FORMATS:
        raise ValueError(f"its header has the unknown format {kind or '(none)'}")
    elements = _elements(lines)
    header = Header(elements, _FORMATS[kind], end.end(), longest=max(map(len, head.splitlines())))
    if not header.count("vertex"):
        raise ValueError("its header counts no vertices")
    check_counts(path, {element.name: element.count for element in elements})
    names = [name for element in elements if element.name == "vertex" for name, _ in element.fields]
    if not {"x", "y", "z"} <= known_columns(names).keys():
        raise ValueError("its vertices have no x, y and z")
    if header.byte_order:
        room = os.path.getsize(path) - header.start
        for element in elements:
            width = sum(np.dtype(kind).itemsize for _, kind in element.fields)
            check_room(f"elements {element.name}", element.count, width, room)
    return header


def _elements(lines: list[list[str]]) -> tuple[Element, ...]:
    elements: list[Element] = []
    for words in lines:
        if words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            elements.append(Element(words[1], int(words[2]), ()))
        elif words[:1] == ["property"] and (len(words) < 3 or not elements):
            raise ValueError(f"its header has a property without a name, or of no element: {' '.join(words)}")
        elif words[:1] == ["property"]:
            last = elements[-1]
            if words[1] == "list":
                elements[-1] = Element(last.name, last.count, last.fields, has_lists=True)
            elif words[1] in _TYPES:
                fields = (*last.fields, (words[2], _TYPES[words[1]]))
                elements[-1] = Element(last.name, last.count, fields, last.has_lists)
            else:
                raise ValueError(f"its header has a property of unknown type {words[1]}")
    return tuple(elements)


Columns = list[NDArray[np.generic]]


def _binary(path: str, header: Header, before: list[Element], vertex: Element) -> Columns:
    order = header.byte_order
    start = header.start + sum(element.count * _record(element, order).itemsize for element in before)
    kind = _record(vertex, order)
    check_room("vertices", vertex.count, kind.itemsize, os.path.getsize(path) - start)
    records = np.fromfile(path, dtype=kind, count=vertex.count, offset=start)
    return [records[str(place)] for place in range(len(vertex.fields))]


def _record(element: Element, order: str) -> np.dtype[np.void]:
    # Names may occur twice, so fields are numbered.
    return np.dtype([(str(place), order + kind) for place, (_, kind) in enumerate(element.fields)])


def _ascii(path: str, header: Header, before: list[Element], vertex: Element) -> Columns:
    skipped = sum(element.count * len(element.fields) for element in before)
    wanted = vertex.count * len(vertex.fields)
    with open(path, "rb") as file:
        file.seek(header.start)
        values = parse_numbers(file.read(), skipped + wanted)
    columns = values[skipped:].reshape(vertex.count, len(vertex.fields))
    return [columns[:, place].astype(kind) for place, (_, kind) in enumerate(vertex.fields)]
