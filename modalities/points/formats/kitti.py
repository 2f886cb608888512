"""Raw float32 records of LiDAR data sets: KITTI's ``.bin`` (x, y, z, intensity), nuScenes' ``.pcd.bin`` (and ring).

KITTI's development kit, ``readme.txt``, "Velodyne 3D laser scan data"; nuscenes-devkit, ``LidarPointCloud``.
"""

import os

import numpy as np

from maskkit.modalities.points.cloud import Array, Cloud

COLUMNS = {".pcd.bin": (5,), ".bin": (4, 5)}


def read(path: str) -> Cloud:
    """Read coordinates in metres, and intensity. Raises ValueError if the size is not that of whole records.

    A file has no header, so one of another kind is recognised by its size or by coordinates beyond any laser's range.
    """
    widths = next(widths for ending, widths in COLUMNS.items() if path.lower().endswith(ending))
    size, words = os.path.getsize(path), " or ".join(map(str, widths))
    fitting = [width for width in widths if size % (4 * width) == 0]
    if not fitting:
        raise ValueError(f"{size} bytes are not whole records of {words} float32 numbers, so it is truncated")
    numbers = np.fromfile(path, dtype="<f4").astype(np.float64)
    tables = [table for width in fitting if _is_scan(table := numbers.reshape(-1, width))]
    if not tables:
        raise ValueError(f"not {words} float32 numbers per point: coordinates are beyond 100 km")
    # Records of another size have coordinates in place of intensities, and some of these are negative.
    table = next((table for table in tables if not (table[:, 3] < 0).any()), tables[0])
    return Cloud(table[:, :3], {"intensity": table[:, 3:4]})


def _is_scan(table: Array) -> bool:
    known = table[np.isfinite(table).all(axis=1)]
    return len(known) > 0 and bool(np.abs(known[:, :3]).max() <= 1e5)
