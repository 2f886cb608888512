"""LAS and LAZ, the formats of airborne scans, read by laspy. LAZ also needs lazrs. ASPRS LAS 1.4."""

import importlib.util
import os
import struct

import numpy as np

from maskkit.data.limits import check_decoded
from maskkit.modalities.points.cloud import Cloud, scale_integers
from maskkit.modalities.points.formats import laz
from maskkit.modalities.points.formats.headers import check_room, read_head


def read(path: str) -> Cloud:
    """Read coordinates, intensity and, where the point format has them, colours. Raises ImportError without laspy."""
    if importlib.util.find_spec("laspy") is None:
        raise ImportError(f"{path}: LAS files are read by laspy; pip install 'maskkit[points]'")
    import laspy

    if check_header(path) and not laspy.LazBackend.detect_available():
        raise ImportError(f"{path}: LAZ files are unpacked by lazrs; pip install 'laspy[lazrs]' or 'maskkit[points]'")
    # Not the parallel one: its threads are gone in loader processes, which are forked, and it would wait for them.
    alone = [each for each in laspy.LazBackend.detect_available() if each != laspy.LazBackend.LazrsParallel]
    try:
        las = laspy.read(path, laz_backend=alone)
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ != "PanicException":
            raise
        raise ValueError(f"its compressed points are damaged: {error}") from None  # Rust's errors are no Exceptions
    features = {"intensity": scale_integers(np.asarray(las.intensity)[:, None])}
    if {"red", "green", "blue"} <= set(las.point_format.dimension_names):
        features["colours"] = scale_integers(np.stack([las.red, las.green, las.blue], axis=1))
    return Cloud(np.stack([las.x, las.y, las.z], axis=1).astype(np.float64), features)


def check_header(path: str) -> bool:
    """Compare the counts of a LAS header (LAS 1.4, table 3) with the file's size: laspy would read on without end.

    Returns whether the points are packed (LAZ), which the header says, whatever the suffix.
    """
    head, size = read_head(path, 375), os.path.getsize(path)
    if len(head) < 227 or head[:4] != b"LASF" or head[24] != 1 or head[25] > 4:
        raise ValueError("no LAS file: it does not begin with a LAS header")
    length, offset, records, kind, width, count = struct.unpack_from("<HIIBHI", head, 94)
    if head[25] == 4 and len(head) == 375:
        first_extra, extras, count = struct.unpack_from("<QIQ", head, 235)
        if extras and first_extra + 60 * extras > size:
            raise ValueError(f"truncated: {extras} extended records do not fit into it")
        _check_extended(path, first_extra, extras)
    if not 227 <= length <= offset <= size or 54 * records > offset:
        raise ValueError("its LAS header places the points outside the file")
    if width < 20 or count > 200 * size:
        raise ValueError(f"truncated: {count} points of {width} bytes do not fit into it")
    packed = kind >= 128 or path.lower().endswith(".laz")
    if packed:
        check_decoded(path, count * width, f"{count} points")
        laz.check(path, length, offset)
    else:
        check_room("points", count, width, size - offset)
    return packed


def _check_extended(path: str, place: int, count: int) -> None:
    """Refuse extended records (LAS 1.4, table 6) that are longer than the file: laspy takes memory for their length."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        for _ in range(count):
            file.seek(place)
            head = file.read(60)
            place += 60 + int.from_bytes(head[20:28], "little")
            if len(head) < 60 or place > size:
                raise ValueError("truncated: its extended records do not fit into it")
