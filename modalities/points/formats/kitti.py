"""Raw float32 records of LiDAR data sets: KITTI's ``.bin`` (x, y, z, intensity) and nuScenes' ``.pcd.bin`` (and ring).

KITTI's development kit, ``readme.txt``, "Velodyne 3D laser scan data"; nuscenes-devkit, ``LidarPointCloud``.
"""

import os

import numpy as np

from maskkit.modalities.points.cloud import Cloud

COLUMNS = {".pcd.bin": 5, ".bin": 4}


def read(path: str) -> Cloud:
    """Read coordinates in metres, and intensity. Raises ValueError if the size is not that of whole records.

    A file has no header, so one of another kind is recognised by its size or by coordinates beyond any laser's range.
    """
    columns = next(number for ending, number in COLUMNS.items() if path.lower().endswith(ending))
    size, width = os.path.getsize(path), 4 * columns
    if size % width:
        raise ValueError(f"{size} bytes are not whole records of {columns} float32 numbers, so it is truncated")
    table = np.fromfile(path, dtype="<f4").reshape(-1, columns).astype(np.float64)
    known = table[np.isfinite(table).all(axis=1)]
    if not len(known) or np.abs(known[:, :3]).max() > 1e5:
        raise ValueError(f"not {columns} float32 numbers per point: coordinates are beyond 100 km")
    return Cloud(table[:, :3], {"intensity": table[:, 3:4]})
