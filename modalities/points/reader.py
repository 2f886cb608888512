"""One point-cloud or mesh file as a ``Cloud``. The suffix says the format; nothing in a file is ever executed."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from maskkit.data.source import BadSampleError
from maskkit.modalities.points.cloud import Cloud, keep_finite
from maskkit.modalities.points.formats import las, mesh, npy, pcd, ply, text, with_open3d

READERS: dict[str, Callable[[str], Cloud]] = {
    ".ply": ply.read,
    ".pcd": pcd.read,
    ".obj": mesh.read,
    ".off": mesh.read,
    ".stl": mesh.read,
    ".xyz": text.read,
    ".pts": text.read,
    ".npy": npy.read,
    ".npz": npy.read,
    ".las": las.read,
    ".laz": las.read,
}
SUFFIXES = tuple(READERS)
Backend = Literal["auto", "open3d"]


def read_cloud(path: str, backend: Backend = "auto") -> Cloud:
    """Read a file by the format of its suffix. Raises BadSampleError for a broken file.

    Points that are not finite are left out, and so are triangles that use one. Coordinates are float64, since surveys
    give metres from the equator. ``backend`` "open3d" reads PLY and PCD clouds by open3d, which must be installed.
    """
    suffix = Path(path).suffix.lower()
    check_file(path)
    if suffix not in READERS:
        raise BadSampleError(path, f"suffix {suffix or '(none)'} is none of {', '.join(SUFFIXES)}")
    with one_bad_sample(path):
        read = with_open3d.read if backend == "open3d" and _is_open3ds(path, suffix) else READERS[suffix]
        cloud = read(path)
    return finite_points(cloud, path)


def finite_points(cloud: Cloud, path: str) -> Cloud:
    """Remove points that are not finite. Raises BadSampleError if fewer than two distinct points are left."""
    try:
        return keep_finite(cloud)
    except ValueError as error:
        raise BadSampleError(path, str(error)) from None


def _is_open3ds(path: str, suffix: str) -> bool:
    """Check the header of a PLY or PCD file, and tell whether it is a cloud that open3d may read."""
    if suffix == ".pcd":
        pcd.read_header(path)
        return True
    return suffix == ".ply" and not ply.read_header(path).count("face")


@contextmanager
def one_bad_sample(path: str) -> Iterator[None]:
    """Convert any error about a file into one BadSampleError with a short reason."""
    try:
        yield
    except (BadSampleError, ImportError):
        raise
    except MemoryError:
        raise BadSampleError(path, "claims more points than fit into memory") from None
    except Exception as error:  # broken files make readers raise nearly anything
        message = (str(error).splitlines() or [""])[0].rstrip(".") or type(error).__name__
        raise BadSampleError(path, f"cannot be read: {message}") from error


def check_file(path: str) -> None:
    """Raise BadSampleError for what is no ordinary file or is empty, before a reader says it worse."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise BadSampleError(path, reason[0].lower() + reason[1:]) from None
    if not stat.S_ISREG(status.st_mode):
        raise BadSampleError(path, "not an ordinary file")
    if status.st_size == 0:
        raise BadSampleError(path, "empty file")
