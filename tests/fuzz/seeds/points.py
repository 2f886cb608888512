"""Clouds of 24 points and meshes of 4 triangles, written by hand; LAS and LAZ by laspy.

A name that holds ``normals``, ``colours`` or ``intensity`` says that the file has these features.
"""

import importlib.util
import io
import struct

import numpy as np
from numpy.typing import NDArray

from tests.fuzz.seeds.arrays import hdf5, npy, npz

P = 24
XYZ = np.random.default_rng(0).normal(size=(P, 3)).round(3).astype("<f4")
NORMALS = (XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)).round(3).astype("<f4")
COLOURS = np.random.default_rng(1).integers(0, 256, (P, 3), dtype=np.uint8)
INTENSITY = (np.arange(P) / P).astype("<f4")[:, None]
CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype="<f4")
FACES = ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3))


def seeds() -> dict[str, bytes]:
    """Return clouds and meshes of all suffixes."""
    return {**_plys(), **_pcds(), **_meshes(), **_texts(), **_las(), **_records()}


def _text(*columns: NDArray[np.generic], sep: str = " ") -> str:
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return "".join(sep.join(f"{value:.7g}" for part in row for value in part) + "\n" for row in rows)


def _packed(*columns: NDArray[np.generic]) -> bytes:
    return b"".join(part[row].tobytes() for row in range(len(columns[0])) for part in columns)


def _ply(kind: str, body: bytes, *properties: str, count: int = P, then: str = "") -> bytes:
    lines = "".join(f"property {each}\n" for each in ("float x", "float y", "float z", *properties))
    return f"ply\nformat {kind} 1.0\nelement vertex {count}\n{lines}{then}end_header\n".encode() + body


def _plys() -> dict[str, bytes]:
    colours = ("uchar red", "uchar green", "uchar blue")
    normals = ("float nx", "float ny", "float nz")
    faces = f"element face {len(FACES)}\nproperty list uchar int vertex_indices\n"
    polygons = "".join(f"3 {a} {b} {c}\n" for a, b, c in FACES)
    packed = b"".join(struct.pack("<B3i", 3, *face) for face in FACES)
    big = struct.pack(f">{3 * P}f", *XYZ.flatten())
    before = _ply("ascii", ("2 1 2\n" + _text(XYZ)).encode())
    return {
        "ascii_colours.ply": _ply("ascii", _text(XYZ, COLOURS).encode(), *colours),
        "normals_colours.ply": _ply("binary_little_endian", _packed(XYZ, NORMALS, COLOURS), *normals, *colours),
        "big.ply": _ply("binary_big_endian", big),
        "mesh.ply": _ply("ascii", (_text(CORNERS) + polygons).encode(), count=4, then=faces),
        "packed_mesh.ply": _ply("binary_little_endian", CORNERS.tobytes() + packed, count=4, then=faces),
        "list_first.ply": before.replace(
            b"element vertex", b"element extra 1\nproperty list uchar int some\nelement vertex"
        ),
    }


def _pcd(data: str, body: bytes, fields: str = "x y z", sizes: str = "4 4 4", types: str = "F F F") -> bytes:
    counts = " ".join("1" for _ in fields.split())
    head = f"VERSION 0.7\nFIELDS {fields}\nSIZE {sizes}\nTYPE {types}\nCOUNT {counts}\nWIDTH {P}\nHEIGHT 1\n"
    return f"{head}VIEWPOINT 0 0 0 1 0 0 0\nPOINTS {P}\nDATA {data}\n".encode() + body


def _pcds() -> dict[str, bytes]:
    block = XYZ.T.tobytes()
    literals = b"".join(bytes([len(part) - 1]) + part for part in (block[i : i + 32] for i in range(0, len(block), 32)))
    compressed = struct.pack("<II", len(literals), len(block)) + literals
    rgb = (COLOURS.astype(np.uint32) << np.array([16, 8, 0], dtype=np.uint32)).sum(1).astype("<u4")[:, None]
    normals = "x y z normal_x normal_y normal_z"
    return {
        "ascii.pcd": _pcd("ascii", _text(XYZ).encode()),
        "ascii_normals.pcd": _pcd("ascii", _text(XYZ, NORMALS).encode(), normals, "4 4 4 4 4 4", "F F F F F F"),
        "colours.pcd": _pcd("binary", _packed(XYZ, rgb), "x y z rgb", "4 4 4 4", "F F F U"),
        "intensity.pcd": _pcd("binary", _packed(XYZ, INTENSITY), "x y z intensity", "4 4 4 4", "F F F F"),
        "compressed.pcd": _pcd("binary_compressed", compressed),
    }


def _meshes() -> dict[str, bytes]:
    corners = _text(CORNERS)
    triangles = CORNERS[np.array(FACES)]
    records = b"".join(struct.pack("<12fH", 0, 0, 1, *triangle.flatten(), 0) for triangle in triangles)
    facets = "".join(
        "facet normal 0 0 1\nouter loop\n" + "".join(f"vertex {_text(c[None])}" for c in each) + "endloop\nendfacet\n"
        for each in triangles
    )
    vertices = "".join(f"v {line}\n" for line in corners.splitlines())
    polygons = "".join(f"f {a + 1} {b + 1}//1 {c + 1}\n" for a, b, c in FACES)
    return {
        "mesh.obj": f"{vertices}{polygons}f -1 -2 -3\n".encode(),
        "colours.obj": "".join(f"v {line}\n" for line in _text(XYZ, COLOURS / 255).splitlines()).encode(),
        "mesh.off": f"OFF\n4 4 0\n{corners}{''.join(f'3 {a} {b} {c}{chr(10)}' for a, b, c in FACES)}".encode(),
        "packed.stl": b"binary".ljust(80) + struct.pack("<I", len(FACES)) + records,
        "ascii.stl": f"solid a\n{facets}endsolid a\n".encode(),
    }


def _texts() -> dict[str, bytes]:
    return {
        "plain.xyz": _text(XYZ).encode(),
        "normals.txt": _text(XYZ, NORMALS, sep=",").encode(),
        "intensity.asc": ("//X;Y;Z;Intensity\n" + _text(XYZ, INTENSITY, sep=";")).encode(),
        "intensity_colours.pts": (f"{P}\n" + _text(XYZ, INTENSITY, COLOURS)).encode(),
    }


def _las() -> dict[str, bytes]:
    if not importlib.util.find_spec("laspy"):
        return {}
    import laspy

    found = {}
    # Point formats from 6 on are packed in layers.
    kinds = {"intensity_colours.las": (3, "1.2"), "intensity_colours.laz": (3, "1.2"), "layers_colours.laz": (7, "1.4")}
    for name, (kind, version) in kinds.items():
        las = laspy.create(point_format=kind, file_version=version)
        las.header.scales = [1e-3] * 3
        las.x, las.y, las.z = XYZ.T.astype(np.float64)
        las.red, las.green, las.blue = COLOURS.T.astype(np.uint16) * 257
        las.intensity = np.arange(P, dtype=np.uint16) * 1000
        file = io.BytesIO()
        las.write(file, do_compress=name.endswith(".laz"))
        found[name] = file.getvalue()
    return found


def _records() -> dict[str, bytes]:
    several = np.stack([XYZ, XYZ[::-1]])
    return {
        **hdf5("several.h5", data=several, label=np.arange(2)),
        **hdf5("normals.hdf5", packed=True, data=several, normal=np.stack([NORMALS, NORMALS[::-1]])),
        "intensity.bin": _packed(XYZ, INTENSITY),
        "intensity.pcd.bin": _packed(XYZ, INTENSITY, INTENSITY),
        "one.npy": npy(XYZ),
        "several.npy": npy(several),
        "normals.npz": npz(points=np.concatenate([XYZ, NORMALS], 1)),
        "packed.npz": npz(compressed=True, points=several, labels=np.arange(2)),
    }
