"""PLY: a header of elements and their properties, then ASCII numbers or packed records.

A file of vertices is read by numpy, one with faces by trimesh. Turk 1994, "The PLY Polygon File Format".
"""

import os
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskkit.modalities.points.cloud import Array, Cloud, scale_integers
from maskkit.modalities.points.formats import mesh, with_open3d
from maskkit.modalities.points.formats.ascii import parse_numbers
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
_FEATURES = {"normals": ("nx", "ny", "nz"), "colours": ("red", "green", "blue"), "intensity": ("intensity",)}


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
    """A checked header; ``byte_order`` is empty for ASCII, and ``start`` is where the elements begin, in bytes."""

    elements: tuple[Element, ...]
    byte_order: str
    start: int

    def count(self, name: str) -> int:
        """Return how many elements of a name there are."""
        return sum(element.count for element in self.elements if element.name == name)


def read(path: str) -> Cloud:
    """Read a PLY file: a cloud, or a mesh where it has faces."""
    header = read_header(path)
    if header.count("face"):
        return mesh.read(path, _plain(path, header))
    before = list(takewhile(lambda element: element.name != "vertex", header.elements))
    vertex = header.elements[len(before)]
    if vertex.has_lists or any(element.has_lists for element in before):
        return with_open3d.read(path)  # records of differing size before or among the vertices
    return _cloud(_binary(path, header, before, vertex) if header.byte_order else _ascii(path, header, before, vertex))


def _plain(path: str, header: Header) -> bytes:
    """Return the file without comments in its header: trimesh expects the format in the second line."""
    content = Path(path).read_bytes()
    lines = content[: header.start].splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith((b"comment", b"obj_info"))) + content[header.start :]


def read_header(path: str) -> Header:
    """Parse and check a header. Raises ValueError if it is no PLY header, or where its counts cannot be true."""
    head, end, rest = read_head(path).partition(b"end_header")
    if not head.startswith(b"ply") or not end:
        raise ValueError("no PLY file: it does not begin with a PLY header")
    lines = [line.split() for line in head.decode("ascii", errors="replace").splitlines()]
    kind = next((words[1] for words in lines if words[:1] == ["format"] and len(words) > 1), "")
    if kind not in _FORMATS:
        raise ValueError(f"its header has the unknown format {kind or '(none)'}")
    elements = _elements(lines)
    header = Header(elements, _FORMATS[kind], len(head) + len(end) + (2 if rest.startswith(b"\r\n") else 1))
    if not header.count("vertex"):
        raise ValueError("its header counts no vertices")
    check_counts(path, {element.name: element.count for element in elements})
    known = {name for element in elements if element.name == "vertex" for name, _ in element.fields}
    if not {"x", "y", "z"} <= known:
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
        elif words[:1] == ["property"] and len(words) >= 3 and elements:
            last = elements[-1]
            if words[1] == "list":
                elements[-1] = Element(last.name, last.count, last.fields, has_lists=True)
            elif words[1] in _TYPES:
                fields = (*last.fields, (words[2], _TYPES[words[1]]))
                elements[-1] = Element(last.name, last.count, fields, last.has_lists)
            else:
                raise ValueError(f"its header has a property of unknown type {words[1]}")
    return tuple(elements)


def _binary(path: str, header: Header, before: list[Element], vertex: Element) -> dict[str, NDArray[np.generic]]:
    order = header.byte_order
    start = header.start + sum(element.count * _record(element, order).itemsize for element in before)
    kind = _record(vertex, order)
    check_room("vertices", vertex.count, kind.itemsize, os.path.getsize(path) - start)
    records = np.fromfile(path, dtype=kind, count=vertex.count, offset=start)
    return {name: records[name] for name, _ in vertex.fields}


def _record(element: Element, order: str) -> np.dtype[np.void]:
    return np.dtype([(name, order + kind) for name, kind in element.fields])


def _ascii(path: str, header: Header, before: list[Element], vertex: Element) -> dict[str, NDArray[np.generic]]:
    skipped = sum(element.count * len(element.fields) for element in before)
    wanted = vertex.count * len(vertex.fields)
    with open(path, "rb") as file:
        file.seek(header.start)
        values = parse_numbers(file.read(), skipped + wanted)
    columns = values[skipped:].reshape(vertex.count, len(vertex.fields))
    return {name: columns[:, place].astype(kind) for place, (name, kind) in enumerate(vertex.fields)}


def _cloud(columns: dict[str, NDArray[np.generic]]) -> Cloud:
    features: dict[str, Array] = {}
    for feature, names in _FEATURES.items():
        if set(names) <= columns.keys():
            values = np.stack([columns[name] for name in names], axis=1)
            features[feature] = scale_integers(values) if feature == "colours" else values.astype(np.float64)
    return Cloud(np.stack([columns[name].astype(np.float64) for name in "xyz"], axis=1), features)
