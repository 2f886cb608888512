"""One point-cloud or mesh file as a ``Cloud``. The suffix says the format; nothing in a file is ever executed."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from maskkit.data.limits import check_decoded
from maskkit.data.source import BadSampleError, one_bad_sample
from maskkit.files import check_readable
from maskkit.modalities.points.cloud import Cloud, Feature, keep_finite
from maskkit.modalities.points.formats import kitti, las, mesh, npy, obj, off, pcd, ply, text, with_open3d

READERS: dict[str, Callable[[str], Cloud]] = {
    ".ply": ply.read,
    ".pcd": pcd.read,
    ".obj": obj.read,
    ".off": off.read,
    ".stl": mesh.read,
    ".xyz": text.read,
    ".pts": text.read,
    ".asc": text.read,
    ".txt": text.read,
    ".bin": kitti.read,
    ".npy": npy.read,
    ".npz": npy.read,
    ".las": las.read,
    ".laz": las.read,
}
SUFFIXES = tuple(READERS)
Backend = Literal["auto", "open3d"]


def read_cloud(path: str, backend: Backend = "auto", features: Sequence[Feature] = ()) -> Cloud:
    """Read a file by the format of its suffix. Raises BadSampleError for a broken file.

    Points whose coordinates or ``features`` are not finite are left out, and so are triangles that use one. Coordinates
    are float64, since surveys give metres from the equator. ``backend`` "open3d" reads PLY and PCD clouds by open3d,
    which must be installed.
    """
    suffix = Path(path).suffix.lower()
    check_readable(path, "point cloud")
    check_decoded(path, os.path.getsize(path))  # files are read whole
    if suffix not in READERS:
        raise BadSampleError(path, f"suffix {suffix or '(none)'} is none of {', '.join(SUFFIXES)}")
    with one_bad_sample(path):
        read = with_open3d.read if backend == "open3d" and _is_open3ds(path, suffix) else READERS[suffix]
        cloud = read(path)
    return finite_points(cloud, path, features)


def finite_points(cloud: Cloud, path: str, features: Sequence[Feature] = ()) -> Cloud:
    """Remove points that are not finite. Raises BadSampleError if fewer than two distinct points are left."""
    try:
        return keep_finite(cloud, features)
    except ValueError as error:
        raise BadSampleError(path, str(error)) from None


def _is_open3ds(path: str, suffix: str) -> bool:
    """Check the header of a PLY or PCD file, and tell whether it is a cloud that open3d may read.

    open3d writes beyond its memory and ends the process on PCD files with fields of one name, of several numbers, or
    with one or two of three normals (isl-org/Open3D#6437), and on long lines in the header of a PLY file. It believes
    the sizes of compressed data. Such files are read by numpy.
    """
    if suffix == ".pcd":
        header = pcd.read_header(path)
        names = [field.name for field in header.fields]
        single = len(set(names)) == len(names) and all(field.count == 1 for field in header.fields)
        normals = sum(name in pcd.NORMALS for name in names)
        return single and normals in (0, 3) and header.data != "binary_compressed"
    return suffix == ".ply" and (header := ply.read_header(path)).is_open3ds and not header.count("face")
