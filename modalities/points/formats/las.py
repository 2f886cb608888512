"""LAS and LAZ, the formats of airborne scans, read by laspy. LAZ also needs lazrs. ASPRS LAS 1.4."""

import importlib.util
import os
import struct

import numpy as np

from maskkit.modalities.points.cloud import Cloud, scale_integers
from maskkit.modalities.points.formats.headers import check_room, read_head


def read(path: str) -> Cloud:
    """Read coordinates, intensity and, where the point format has them, colours. Raises ImportError without laspy."""
    if importlib.util.find_spec("laspy") is None:
        raise ImportError(f"{path}: LAS files are read by laspy; pip install 'maskkit[points]'")
    import laspy

    if check_header(path) and not laspy.LazBackend.detect_available():
        raise ImportError(f"{path}: LAZ files are unpacked by lazrs; pip install 'laspy[lazrs]' or 'maskkit[points]'")
    las = laspy.read(path)
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
    if not 227 <= length <= offset <= size or 54 * records > offset:
        raise ValueError("its LAS header places the points outside the file")
    packed = kind >= 128 or path.lower().endswith(".laz")
    if width < 20 or count > 200 * size:
        raise ValueError(f"truncated: {count} points of {width} bytes do not fit into it")
    if not packed:
        check_room("points", count, width, size - offset)
    return packed
