"""PLY and PCD clouds by open3d, which ``maskkit[open3d]`` installs. Used where it is asked for, and for odd PLY files.

open3d believes the counts in a header and may end the process over them, so callers check the header first.
"""

import ctypes
import ctypes.util
import importlib
import importlib.util
from typing import Any

import numpy as np

from maskkit.modalities.points.cloud import Array, Cloud, scale_integers

_NAMES = {"normals": "normals", "colours": "colors", "intensity": "intensity"}


def read(path: str) -> Cloud:
    """Read a cloud whose header was checked. Raises ImportError without open3d, ValueError where it finds no points."""
    o3d = import_open3d()
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        cloud = o3d.t.io.read_point_cloud(path)
    if "positions" not in cloud.point or len(cloud.point.positions) == 0:
        raise ValueError("broken or truncated; open3d finds no points in it")
    values = {name: cloud.point[name].numpy() for name in cloud.point}
    features: dict[str, Array] = {}
    for ours, theirs in _NAMES.items():
        if theirs in values:
            columns = values[theirs].reshape(len(values[theirs]), -1)
            features[ours] = scale_integers(columns) if ours == "colours" else columns.astype(np.float64)
    return Cloud(values["positions"].astype(np.float64), features)


def import_open3d() -> Any:
    """Import open3d, or raise ImportError with the extra that installs it.

    open3d links libusb for depth cameras. Where the system has none, the one of libusb-package is loaded first.
    """
    if importlib.util.find_spec("open3d") is None:
        raise ImportError("reading this file needs open3d; pip install 'maskkit[open3d]'")
    load_libusb()
    return importlib.import_module("open3d")


def load_libusb() -> None:
    """Load libusb-package's libusb where the system has none."""
    if not ctypes.util.find_library("usb-1.0") and importlib.util.find_spec("libusb_package"):
        library = importlib.import_module("libusb_package").get_library_path()
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
