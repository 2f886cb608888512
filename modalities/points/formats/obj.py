"""OBJ, Wavefront's text format of meshes: vertices with optional colours, and polygons.

trimesh counts negative indices from the end of the file (mikedh/trimesh#2364). They count from the line that has them.
"""

import numpy as np

from maskkit.modalities.points.cloud import Array, Cloud, scale_integers


def read(path: str) -> Cloud:
    """Read vertices, their colours (``v x y z r g b``) and polygons as fans of triangles. All else is left out."""
    vertices: list[list[float]] = []
    normals: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        for words in (line.split() for line in _whole_lines(file.read())):
            if words[:1] == ["v"]:
                vertices.append([float(word) for word in words[1:]])
            elif words[:1] == ["vn"]:
                normals.append([float(word) for word in words[1:4]])
            elif words[:1] in (["f"], ["fo"]):  # "fo" in old files
                corners = [_index(word, len(vertices)) for word in words[1:]]
                triangles += [(corners[0], *pair) for pair in zip(corners[1:], corners[2:], strict=False)]
    if not vertices:
        raise ValueError("no OBJ file: it holds no vertices")
    if min(map(len, vertices)) < 3:
        raise ValueError("a vertex has fewer than three coordinates")
    faces = np.array(triangles, dtype=np.int64).reshape(-1, 3)
    if len(faces) and not (0 <= faces.min() and faces.max() < len(vertices)):
        raise ValueError("a triangle names a point that is not there")
    features = _colours(vertices)
    if len(normals) == len(vertices) and not triangles:  # a cloud has no faces that name normals
        features["normals"] = np.array(normals, dtype=np.float64).reshape(-1, 3)
    return Cloud(np.array([row[:3] for row in vertices], dtype=np.float64), features, faces)


def _whole_lines(text: str) -> list[str]:
    """Return the lines without comments; a backslash at the end of a line continues it."""
    return [line.partition("#")[0] for line in text.replace("\\\n", " ").split("\n")]


def _index(word: str, count: int) -> int:
    """Return the index from 0 of a corner such as ``7/1/3``; negative ones count back from the last vertex so far."""
    number = int(word.partition("/")[0])
    if number == 0:
        raise ValueError("a triangle names point 0; points are counted from 1")
    return number - 1 if number > 0 else count + number


def _colours(vertices: list[list[float]]) -> dict[str, Array]:
    """Return colours if every vertex has three numbers after its coordinates, and a weight where there are seven."""
    if min(map(len, vertices)) < 6:
        return {}
    return {"colours": scale_integers(np.array([row[4:7] if len(row) == 7 else row[3:6] for row in vertices]))}
