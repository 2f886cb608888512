"""The packages that read clouds and meshes, for ``maskkit doctor``."""

import ctypes.util
import importlib.util
import os

from maskkit.doctor import Report, package
from maskkit.modalities.points.formats.with_open3d import load_libusb

_EXTRA = "pip install 'maskkit[points]'"


def findings() -> list[Report]:
    """Return one row per package: subject, whether it works, a line of text, and the command that fixes it."""
    return [
        ("points", True, "numpy reads point clouds in PLY, PCD, XYZ, PTS, NPY and NPZ files", ""),
        package("trimesh", "reads meshes (PLY, OBJ, OFF, STL)", _EXTRA),
        package("laspy", "reads LAS and, with lazrs, LAZ", _EXTRA),
        package("h5py", "reads arrays in HDF5 files, as those of ModelNet40", "pip install 'maskkit[hdf5]'"),
        package("fpsample", "makes farthest-point sampling on the CPU faster", _EXTRA),
        _open3d(),
    ]


def _open3d() -> Report:
    purpose = "reads point clouds (PLY, PCD) where backend is open3d, and PLY files with lists in their vertices"
    mend = "pip install 'maskkit[open3d]'"
    lacks_libusb = os.name == "posix" and not ctypes.util.find_library("usb-1.0")
    if importlib.util.find_spec("open3d") and lacks_libusb and importlib.util.find_spec("libusb_package") is None:
        text = "installed, but the system lacks libusb-1.0.so.0, without which it does not import"
        return "open3d", False, text, "pip install libusb-package"
    return package("open3d", purpose, mend, preload=load_libusb)
