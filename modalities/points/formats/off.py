"""OFF, Geomview's text format of meshes, with its prefixes ST, C, N and 4 (Geomview's manual, section 4.2.5).

trimesh reads no polygons of mixed sizes (under numpy 2), drops colours, and takes a file that was cut off for a whole
one.
"""

import re
from pathlib import Path

import numpy as np

from maskkit.modalities.points.cloud import Array, Cloud, scale_integers


def read(path: str) -> Cloud:
    """Read vertices, their normals (NOFF) and colours (COFF), and polygons as fans of triangles.

    The counts may follow OFF in the first line, as in ModelNet40. Colours of polygons are left out.
    """
    text = Path(path).read_bytes().decode("utf-8-sig", errors="replace")
    lines = [line for each in text.splitlines() if (line := each.partition("#")[0].strip())]
    head = re.match(r"(ST)?(C)?(N)?(4)?OFF\s*(.*)", lines[0]) if lines else None
    if head is None:
        raise ValueError("no OFF file: it does not begin with OFF")
    if head[5].startswith("BINARY"):
        raise ValueError("a binary OFF file; write it as text, or as PLY")
    body = [head[5], *lines[1:]] if head[5] else lines[1:]
    counts = [int(word) for word in body[0].split()[:2]] if body else []
    if len(counts) < 2:
        raise ValueError("no OFF file: it does not count vertices and faces")
    num_vertices, num_faces = counts
    if num_vertices < 1:
        raise ValueError("holds no vertices")
    if len(body) - 1 < num_vertices + num_faces:
        found = f"{len(body) - 1} lines for {num_vertices} vertices and {num_faces} faces"
        raise ValueError(f"broken, or no OFF file: {found}")
    table = np.loadtxt(body[1 : 1 + num_vertices], comments=None, ndmin=2)
    triangles = [corners for line in body[1 + num_vertices :][:num_faces] for corners in _fan(line)]
    faces = np.array(triangles, dtype=np.int64).reshape(-1, 3)
    if len(faces) and not (0 <= faces.min() and faces.max() < num_vertices):
        raise ValueError("a triangle names a point that is not there")
    start = 4 if head[4] else 3
    return Cloud(table[:, :3], _features(table[:, start:], has_normals=bool(head[3]), has_colours=bool(head[2])), faces)


def _fan(line: str) -> list[tuple[int, int, int]]:
    """Return the triangles of a polygon: a number of corners, the corners, and perhaps a colour."""
    words = line.split()
    corners = [int(word) for word in words[1 : 1 + int(words[0])]]
    if len(corners) < int(words[0]):
        raise ValueError(f"a face of {words[0]} corners names {len(corners)}")
    return [(corners[0], *pair) for pair in zip(corners[1:], corners[2:], strict=False)]


def _features(columns: Array, *, has_normals: bool, has_colours: bool) -> dict[str, Array]:
    """Return the features in the columns after the coordinates: three numbers of a normal, then those of a colour."""
    place = 3 if has_normals else 0
    if columns.shape[1] < place + (3 if has_colours else 0):
        raise ValueError("its vertices have fewer numbers than its first line says")
    features = {"normals": columns[:, :3]} if has_normals else {}
    return features | ({"colours": scale_integers(columns[:, place : place + 3])} if has_colours else {})
