"""Checks of the compressed points of a LAZ file: lazrs ends the process where a size or a count asks for memory.

LASzip's specification, "LASzip VLR", "Chunk Table" and "Layered Chunks".
"""

import os
import struct
from typing import BinaryIO

from maskkit.modalities.points.formats.headers import check_room

_LAYERED = 3  # the compressor of point formats from 6 on
_LAYERS = {10: 9, 11: 1, 12: 2, 13: 1}  # how many layers an item has, by its type
_BYTES = 14  # the type of an item that has a layer for each of its bytes


def check(path: str, first_record: int, offset: int) -> None:
    """Compare sizes and counts with the size of the file. ``offset`` is where the points begin. Raises ValueError."""
    with open(path, "rb") as file:
        table = _chunk_table(file, offset, os.path.getsize(path))
        compressor, items = _items(file, first_record, offset)
        if not items:
            raise ValueError("its LASzip record names no items")
        if compressor == _LAYERED:
            _check_layers(file, offset + 8, table, items)


def _chunk_table(file: BinaryIO, offset: int, size: int) -> int:
    """Return where the table of chunks begins."""
    file.seek(offset)
    table = int.from_bytes(file.read(8), "little", signed=True)
    if table == -1:  # written to a stream: the place is at the end
        file.seek(-8, os.SEEK_END)
        table = int.from_bytes(file.read(8), "little", signed=True)
    if not offset + 8 <= table <= size - 8:
        raise ValueError("truncated: its table of chunks lies outside the file")
    file.seek(table + 4)
    check_room("chunks", int.from_bytes(file.read(4), "little"), 1, table - offset - 8)
    return table


def _items(file: BinaryIO, place: int, end: int) -> tuple[int, list[tuple[int, int]]]:
    """Return the compressor and the items of a point as (type, bytes), from the record that says them."""
    while place + 54 <= end:
        file.seek(place)
        head = file.read(54)
        length = int.from_bytes(head[20:22], "little")
        if head[2:16] == b"laszip encoded":
            body = file.read(length)
            if len(body) < 34:
                break
            count = int.from_bytes(body[32:34], "little")
            check_room("items", count, 6, len(body) - 34)
            return body[0], [struct.unpack_from("<HH", body, 34 + 6 * item) for item in range(count)]
        place += 54 + length
    raise ValueError("it has no LASzip record")


def _check_layers(file: BinaryIO, place: int, end: int, items: list[tuple[int, int]]) -> None:
    """Walk through the chunks: each has a point, the number of points, the sizes of its layers, and these."""
    width = sum(size for _, size in items)
    layers = sum(size if kind == _BYTES else _LAYERS.get(kind, 0) for kind, size in items)
    while place < end:
        file.seek(place + width + 4)
        sizes = file.read(4 * layers)
        place += width + 4 + len(sizes) + sum(struct.unpack(f"<{len(sizes) // 4}I", sizes[: len(sizes) // 4 * 4]))
        if len(sizes) < 4 * layers or place > end:
            raise ValueError("truncated: the layers of its points do not fit into it")
