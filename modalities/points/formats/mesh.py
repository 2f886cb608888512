"""Triangle meshes (PLY, STL), read by trimesh."""

import importlib
import importlib.util
import io
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from maskkit.modalities.points.cloud import Cloud


class _Visual(Protocol):
    kind: str | None
    vertex_colors: ArrayLike


class _Mesh(Protocol):
    vertices: ArrayLike
    faces: ArrayLike
    visual: _Visual


class _Trimesh(Protocol):
    def load_mesh(self, file: BinaryIO, *, file_type: str, process: bool) -> _Mesh: ...


def read(path: str, content: bytes | None = None) -> Cloud:
    """Read a mesh: vertices, triangles and, where vertices have them, colours. Without triangles it is a cloud.

    ``content`` is read instead of the file. Raises ImportError without trimesh, ValueError for a broken file.

    trimesh's errors are Python's. open3d ends the process where a polygon names a point that is not there.
    """
    if importlib.util.find_spec("trimesh") is None:
        raise ImportError(f"{path}: meshes are read by trimesh; pip install 'maskkit[points]'")
    trimesh = cast(_Trimesh, importlib.import_module("trimesh"))
    try:
        file = io.BytesIO(Path(path).read_bytes() if content is None else content)
        mesh = trimesh.load_mesh(file, file_type=Path(path).suffix[1:].lower(), process=False)
        xyz, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    except Exception as error:
        raise ValueError(f"broken, or no {Path(path).suffix[1:].upper()} file ({error})") from error
    if len(triangles) == 0 and Path(path).suffix.lower() == ".stl":  # its points are those of its triangles
        raise ValueError("holds no triangles")
    if len(triangles) and not (0 <= triangles.min() and triangles.max() < len(xyz)):
        raise ValueError("a triangle names a point that is not there")
    coloured = mesh.visual.kind == "vertex"
    features = {"colours": np.asarray(mesh.visual.vertex_colors)[:, :3] / 255} if coloured else {}
    return Cloud(xyz, features, triangles)
