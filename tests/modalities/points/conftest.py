"""Clouds in files of every format."""

import importlib.util

import numpy as np
import pytest

from maskkit.modalities.points.formats.with_open3d import import_open3d

XYZ = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
HEADS = {
    ".ply": "ply\nformat ascii 1.0\nelement vertex {0}\n"
    "property float x\nproperty float y\nproperty float z\nend_header",
    ".pcd": "VERSION 0.7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nCOUNT 1 1 1\nWIDTH {0}\nHEIGHT 1\n"
    "VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {0}\nDATA ascii",
    ".pts": "{0}",
}


@pytest.fixture
def write_cloud():
    """Return a function that writes a cloud, fifty normal points unless it is given others, and returns the path."""
    return _write


def _write(path, xyz=XYZ):
    """Write a cloud in the format of the suffix, by the library that owns it where that is installed."""
    if path.suffix in (".ply", ".pcd") and importlib.util.find_spec("open3d"):
        o3d = import_open3d()
        o3d.io.write_point_cloud(str(path), o3d.geometry.PointCloud(o3d.utility.Vector3dVector(xyz)))
    elif path.suffix == ".npy":
        np.save(path, xyz)
    elif path.suffix == ".npz":
        np.savez(path, points=xyz)
    elif path.suffix in (".las", ".laz"):
        _write_las(path, xyz)
    else:
        np.savetxt(path, xyz, header=HEADS.get(path.suffix, "").format(len(xyz)), comments="")
    return str(path)


def _write_las(path, xyz):
    laspy = pytest.importorskip("laspy")
    las = laspy.create(point_format=3, file_version="1.2")
    las.header.scales = [1e-5] * 3
    las.x, las.y, las.z = xyz.T.astype(np.float64)
    las.intensity = np.full(len(xyz), 65535 // 5, dtype=np.uint16)
    las.write(path)
