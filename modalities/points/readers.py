"""Clouds from files and arrays, one float32 tensor [P C] at a time.

P points, T triangles, C = 3 + F numbers a point: x, y, z, then the features asked for.
"""

import ctypes
import ctypes.util
import importlib
import importlib.util
import itertools
import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from maskkit.data.arrays import check_labels, choose_keys, label_text, load_arrays
from maskkit.data.find import find_files
from maskkit.data.paths import Files, FileSource, Paths
from maskkit.data.source import BadSampleError, Key
from maskkit.files import check_readable, short_reason

Transform = Callable[[Tensor, torch.Generator], Tensor]
Feature = Literal["normals", "colours", "intensity"]
Array = NDArray[np.float64]

WIDTHS: dict[str, int] = {"normals": 3, "colours": 3, "intensity": 1}
SUFFIXES = (".ply", ".pcd", ".obj", ".off", ".stl", ".xyz", ".pts", ".npy", ".npz", ".las", ".laz")
_KEYS = ("points", "xyz", "pc", "pos", "data", "x", "arr_0")


@dataclass(frozen=True)
class Cloud:
    """What a file holds: points, features by name, and the triangles of a mesh."""

    xyz: Array
    features: dict[str, Array] = field(default_factory=dict)
    triangles: NDArray[np.int64] | None = None


# One file


def read_cloud(path: str) -> Cloud:
    """Read a file as its suffix says; nothing in it is ever executed. Raises BadSampleError.

    Points that are not finite are left out, and so are triangles that use one. Coordinates are float64, as scanners
    count metres from the equator.
    """
    suffix = Path(path).suffix.lower()
    check_readable(path, "cloud")
    readers: dict[str, Callable[[str], Cloud]] = {
        ".ply": _read_ply,
        ".pcd": _read_pcd,
        **dict.fromkeys((".obj", ".off", ".stl"), _read_mesh),
        **dict.fromkeys((".xyz", ".pts"), _read_text),
        **dict.fromkeys((".npy", ".npz"), _read_numpy),
        **dict.fromkeys((".las", ".laz"), _read_las),
    }
    if suffix not in readers:
        raise BadSampleError(path, f"suffix {suffix or '(none)'} is none of {', '.join(SUFFIXES)}")
    with _one_bad_sample(path):
        return _finite(readers[suffix](path), path)


def sample_cloud(cloud: Cloud, names: Sequence[Feature], rng: torch.Generator, at_least: int) -> Float[Tensor, "P C"]:
    """Return a cloud's points as float32, moved near the origin; a mesh is sampled evenly by area, ``at_least`` times.

    A mesh's normals are those of its triangles. Raises ValueError for a feature it lacks.
    """
    offset = cloud.xyz.mean(axis=0)  # before float32 takes the digits
    if cloud.triangles is None or not len(cloud.triangles):
        parts = [cloud.xyz - offset, *(_feature(cloud, name) for name in names)]
        return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))
    corners = (cloud.xyz - offset)[cloud.triangles]
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    if not area.sum() > 0:
        raise ValueError("the triangles of the mesh have no area")
    shares = area.cumsum() / area.sum()
    draws = torch.rand(3, at_least, generator=rng, dtype=torch.float64).numpy()
    chosen = np.searchsorted(shares, draws[0], side="right").clip(max=len(area) - 1)
    # Even over a triangle: Osada et al. 2002 (doi:10.1145/571647.571648), section 3.1
    root = np.sqrt(draws[1])[:, None]
    weights = np.concatenate([1 - root, root * (1 - draws[2, :, None]), root * draws[2, :, None]], axis=1)
    parts = [(corners[chosen] * weights[..., None]).sum(axis=1)]
    for name in names:
        if name == "normals":
            parts.append(cross[chosen] / np.maximum(area[chosen, None], 1e-300))
        else:
            values = _feature(cloud, name)[cloud.triangles[chosen]]
            parts.append((values * weights[..., None]).sum(axis=1))
    return torch.from_numpy(np.concatenate(parts, axis=1).astype(np.float32))


def _feature(cloud: Cloud, name: str) -> Array:
    if name not in cloud.features:
        has = ", ".join(cloud.features) or "none"
        raise ValueError(f"has no {name} (features: {has})")
    return cloud.features[name]


def _finite(cloud: Cloud, path: str) -> Cloud:
    """Leave out what is not finite; a cloud of which nothing is left, or only one place, is a bad sample."""
    if len(cloud.xyz) == 0:
        raise BadSampleError(path, "holds no points")
    # float32 ends at 3e38, and squares of distances are taken
    good: NDArray[np.bool_] = (np.abs(cloud.xyz) < 1e15).all(axis=1)  # type: ignore[assignment]  # False for NaN
    for values in cloud.features.values():
        good &= np.isfinite(values).all(axis=1)
    if not good.any():
        raise BadSampleError(path, f"none of its {len(good)} points is finite")
    if not good.all():
        places = good.cumsum() - 1
        triangles = cloud.triangles
        if triangles is not None:
            triangles = places[triangles[good[triangles].all(axis=1)]]
        cloud = Cloud(cloud.xyz[good], {name: v[good] for name, v in cloud.features.items()}, triangles)
    if (np.ptp(cloud.xyz, axis=0) == 0).all():
        raise BadSampleError(path, f"all of its {len(cloud.xyz)} points lie in one place")
    return cloud


@contextmanager
def _one_bad_sample(path: str) -> Iterator[None]:
    try:
        yield
    except (BadSampleError, ImportError):
        raise
    except MemoryError:
        raise BadSampleError(path, "claims more points than fit into memory") from None
    except Exception as error:  # broken files make readers raise nearly anything
        raise BadSampleError(path, f"cannot be read: {short_reason(error)}") from error


# Formats


def _read_numpy(path: str) -> Cloud:
    """Read [P C] from .npy or .npz; see ``_columns``."""
    loaded = np.load(path, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        with loaded:
            loaded = loaded[choose_keys(list(loaded), _KEYS)[0]]
    return _columns(np.asarray(loaded))


def _columns(table: NDArray[Any]) -> Cloud:
    """Tell what unnamed columns behind x, y, z are.

    4 columns: intensity. 7: intensity, then colours (Leica's .pts). 6 and more: three normals, where nearly all have a
    length of about 1, else colours, where all lie in 0..255 or 0..1. Other columns are left out. Intensity is as the
    file has it.
    """
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "iuf":
        raise ValueError(f"an array {list(table.shape)} of {table.dtype} is no cloud; save [points 3]")
    table = table.astype(np.float64)
    count = table.shape[1]
    features = {"intensity": table[:, 3:4]} if count in (4, 7) else {}
    three = table[:, 4:7] if count == 7 else table[:, 3:6]
    known = three[np.isfinite(three).all(axis=1)]
    if count >= 6 and len(known):
        unit = np.abs(np.linalg.norm(known, axis=1) - 1) < 0.05  # written with two digits
        if count != 7 and unit.mean() > 0.95:
            features["normals"] = three
        elif known.min() >= 0 and known.max() <= 255:
            features["colours"] = three / (255 if known.max() > 1 else 1)
    return Cloud(table[:, :3], features)


def _read_text(path: str) -> Cloud:
    """Read lines of x y z and more (``_columns``), parted by blanks or commas.

    A first line of one number (.pts) counts the points, and what follows # is a comment, in whatever encoding.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = ((place, line.partition("#")[0].strip()) for place, line in enumerate(file, start=1))
        heads = list(itertools.islice(((place, text) for place, text in lines if text), 2))
        comma = "," if heads and "," in heads[-1][1] else None
        skip = heads[0][0] if heads and heads[0][1].isdigit() else 0
        file.seek(0)
        return _columns(np.loadtxt(file, delimiter=comma, comments="#", skiprows=skip, ndmin=2))


def _read_las(path: str) -> Cloud:
    if importlib.util.find_spec("laspy") is None:
        raise ImportError(f"{path}: LAS files are read by laspy; pip install laspy")
    import laspy

    _check_las(path)
    las = laspy.read(path)
    features = {"intensity": np.asarray(las.intensity, np.float64)[:, None] / 65535}
    if {"red", "green", "blue"} <= set(las.point_format.dimension_names):
        features["colours"] = np.stack([las.red, las.green, las.blue], axis=1).astype(np.float64) / 65535
    return Cloud(np.stack([las.x, las.y, las.z], axis=1).astype(np.float64), features)


def _read_ply(path: str) -> Cloud:
    return _read_mesh(path) if _check_ply(path) else _read_open3d(path)


def _read_pcd(path: str) -> Cloud:
    _check_pcd(path)
    return _read_open3d(path)


def _read_mesh(path: str) -> Cloud:
    """Read by trimesh, whose errors are Python's: open3d takes the process along where a polygon names no point."""
    if importlib.util.find_spec("trimesh") is None:
        raise ImportError(f"{path}: meshes are read by trimesh; pip install 'maskkit[points]'")
    trimesh = importlib.import_module("trimesh")
    try:
        mesh = trimesh.load_mesh(path, process=False, skip_materials=True)
    except Exception as error:
        raise ValueError(f"broken, or no {Path(path).suffix[1:].upper()} file ({error})") from error
    xyz, triangles = np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)
    if len(triangles) == 0:
        raise ValueError("holds no triangles")
    if not (0 <= triangles.min() and triangles.max() < len(xyz)):
        raise ValueError("a triangle names a point that is not there")
    coloured = mesh.visual.kind == "vertex"
    features = {"colours": np.asarray(mesh.visual.vertex_colors)[:, :3] / 255} if coloured else {}
    return Cloud(xyz, features, triangles)


def _read_open3d(path: str) -> Cloud:
    """Read a cloud whose header was checked: open3d believes its counts and allocates for them."""
    o3d = import_open3d()
    with o3d.utility.VerbosityContextManager(o3d.utility.VerbosityLevel.Error):
        return _cloud_of(o3d.t.io.read_point_cloud(path))


def _cloud_of(cloud: Any) -> Cloud:
    """Take the attributes of an open3d tensor cloud; whole-number colours run to 255."""
    if "positions" not in cloud.point or len(cloud.point.positions) == 0:
        raise ValueError("broken or truncated; open3d finds no points in it")
    values = {name: cloud.point[name].numpy() for name in cloud.point}
    features = {}
    for ours, theirs in (("normals", "normals"), ("colours", "colors"), ("intensity", "intensity")):
        if theirs in values:
            scale = 255.0 if ours == "colours" and values[theirs].dtype.kind in "iu" else 1.0
            features[ours] = values[theirs].astype(np.float64).reshape(len(values[theirs]), -1) / scale
    return Cloud(values["positions"].astype(np.float64), features)


def import_open3d() -> Any:
    """Import open3d; where the system has no libusb, which open3d wants for depth cameras, lend it libusb-package's."""
    if importlib.util.find_spec("open3d") is None:
        raise ImportError("reading this file needs open3d; pip install 'maskkit[points]'")
    if not ctypes.util.find_library("usb-1.0") and importlib.util.find_spec("libusb_package"):
        library = importlib.import_module("libusb_package").get_library_path()
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    return importlib.import_module("open3d")


# Headers: each check raises ValueError where counts and size cannot be true.


def _head(path: str, size: int = 65536) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


def _check_counts(path: str, **counts: int) -> None:
    """Each element takes at least two bytes of a file, so a greater count is made up."""
    size = os.path.getsize(path)
    for name, count in counts.items():
        if not 0 <= count <= size // 2:
            raise ValueError(f"its header counts {count} {name}, which {size} bytes cannot hold")


_PLY_SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64", "int64", "uint64"), 8),
}


def _check_ply(path: str) -> bool:
    """Say whether a PLY file has faces."""
    head, end, _ = _head(path).partition(b"end_header")
    if not head.startswith(b"ply") or not end:
        raise ValueError("no PLY file: it does not begin with a PLY header")
    counts: dict[str, int] = {}
    widths: dict[str, int] = {}
    for line in head.decode("ascii", errors="replace").splitlines():
        words = line.split()
        if words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            counts[words[1]], widths[words[1]] = int(words[2]), 0
        elif words[:1] == ["property"] and len(words) >= 3 and counts:
            known = _PLY_SIZES.get(words[1], 1 if words[1] == "list" else 0)
            if not known:
                raise ValueError(f"its header has a property of unknown type {words[1]}")
            widths[list(widths)[-1]] += known
    if not counts.get("vertex"):
        raise ValueError("its header counts no vertices")
    _check_counts(path, **counts)
    binary = b"format ascii" not in head
    if binary and counts["vertex"] * widths["vertex"] > os.path.getsize(path) - len(head):
        raise ValueError(f"truncated: {counts['vertex']} vertices of {widths['vertex']} bytes do not fit into it")
    return counts.get("face", 0) > 0


def _check_pcd(path: str) -> None:
    head = _head(path)
    fields = dict(re.findall(rb"^([A-Z]+)\s+(.*?)\r?$", head.partition(b"\nDATA")[0], flags=re.MULTILINE))
    if b"POINTS" not in fields or b"FIELDS" not in fields or b"\nDATA" not in head:
        raise ValueError("no PCD file: it does not begin with a PCD header")
    for name in (b"POINTS", b"WIDTH", b"HEIGHT"):
        for word in fields.get(name, b"").split():
            if not word.isdigit():
                raise ValueError(f"its header has {name.decode()} {word!r}, not a number")
    for name in (b"SIZE", b"COUNT"):
        if not all(word.isdigit() and 0 < int(word) <= 4096 for word in fields.get(name, b"1").split()):
            raise ValueError(f"its header has a {name.decode()} that is no small number")
    lengths = {len(fields[name].split()) for name in (b"FIELDS", b"SIZE", b"TYPE", b"COUNT") if name in fields}
    if len(lengths) > 1:
        raise ValueError("its header's FIELDS, SIZE, TYPE and COUNT differ in number")
    points = int(fields[b"POINTS"])
    if b"DATA binary_compressed" not in head:
        _check_counts(path, points=points)
    elif points > 200 * os.path.getsize(path):
        raise ValueError(f"its header counts {points} points, which its size cannot hold")
    if b"WIDTH" in fields and b"HEIGHT" in fields and int(fields[b"WIDTH"]) * int(fields[b"HEIGHT"]) != points:
        raise ValueError("its header's WIDTH times HEIGHT is not POINTS")


def _check_las(path: str) -> None:
    """Hold the counts of a LAS header (ASPRS LAS 1.4, table 3) against the file's size: laspy reads on for ever."""
    head, size = _head(path, 375), os.path.getsize(path)
    if len(head) < 227 or head[:4] != b"LASF" or head[24] != 1 or head[25] > 4:
        raise ValueError("no LAS file: it does not begin with a LAS header")
    length, offset, records, kind, width, count = struct.unpack_from("<HIIBHI", head, 94)
    if head[25] == 4 and len(head) == 375:
        first_extra, extras, count = struct.unpack_from("<QIQ", head, 235)
        if extras and (first_extra + 60 * extras > size):
            raise ValueError(f"truncated: {extras} extended records do not fit into it")
    if not 227 <= length <= offset <= size or 54 * records > offset:
        raise ValueError("its LAS header places the points outside the file")
    packed = kind >= 128 or path.lower().endswith(".laz")
    if width < 20 or (not packed and count * width > size - offset) or count > 200 * size:
        raise ValueError(f"truncated: {count} points of {width} bytes do not fit into it")


# Data sets


@dataclass(frozen=True, kw_only=True)
class Clouds(FileSource):
    """Point-cloud and mesh files as a source of samples: read, sampled where they are meshes, then transformed."""

    transform: Transform
    features: tuple[Feature, ...] = ()
    mesh_points: int = 1024
    """Points drawn from a mesh."""

    def read(self, key: Key, rng: torch.Generator) -> Float[Tensor, "N C"]:
        """Return a cloud, transformed."""
        path = self.path(key.index)
        if isinstance(self.files, Paths):
            cloud = read_cloud(path)
        else:
            with self.files.local(key.index) as copy:  # of a tar shard's member, since open3d takes nothing but paths
                try:
                    cloud = read_cloud(copy)
                except BadSampleError as error:
                    raise BadSampleError(path, error.reason) from None
        try:
            return self.transform(sample_cloud(cloud, self.features, rng, self.mesh_points), rng)
        except ValueError as error:
            raise BadSampleError(path, str(error)) from None


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrays:
    """Clouds of one size in an ``.npy`` (memory-mapped) or ``.npz`` file: ``points`` [N P C], ``labels`` [N]."""

    where: str
    transform: Transform
    features: tuple[Feature, ...] = ()
    loaded: InitVar[tuple[NDArray[Any], NDArray[Any] | None] | None] = None
    """Points and labels, where the file was read already."""
    _points: NDArray[Any] = field(init=False, repr=False)
    _labels: NDArray[Any] | None = field(init=False, repr=False)

    def __post_init__(self, loaded: tuple[NDArray[Any], NDArray[Any] | None] | None) -> None:
        points, labels = loaded or load_arrays(self.where, _KEYS)[:2]
        wanted = 3 + sum(WIDTHS[name] for name in self.features)
        if points.ndim != 3 or points.shape[2] < wanted or points.dtype.kind not in "iuf":
            raise ValueError(
                f"{self.where}: {list(points.shape)} of {points.dtype} are no clouds; save [clouds points {wanted}]"
            )
        if points.size == 0:
            raise ValueError(f"{self.where}: {list(points.shape)} holds no points; save [clouds points {wanted}]")
        object.__setattr__(self, "_points", points)
        object.__setattr__(self, "_labels", check_labels(labels, len(points), self.where))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a spawned worker open the file itself."""
        return _arrays, (self.where, self.transform, self.features)

    def __len__(self) -> int:
        return len(self._points)

    @property
    def repeats(self) -> int:
        """1: each cloud is one sample."""
        return 1

    def read(self, key: Key, rng: torch.Generator) -> Float[Tensor, "N C"]:
        """Return a cloud, transformed."""
        path = self.path(key.index)
        with _one_bad_sample(path):
            cloud = _finite(_columns(np.asarray(self._points[key.index])), path)
            return self.transform(sample_cloud(cloud, self.features, rng, 0), rng)

    def path(self, index: int) -> str:
        """Name cloud ``index``: ``shapes.npz[7]``."""
        return f"{self.where}[{index}]"

    def label(self, index: int) -> str | None:
        """Return its class."""
        return label_text(self._labels, index)


def _arrays(where: str, transform: Transform, features: tuple[Feature, ...]) -> Arrays:
    return Arrays(where=where, transform=transform, features=features)


def open_files(
    where: str | Path, *, transform: Transform, features: tuple[Feature, ...] = (), mesh_points: int = 1024
) -> Clouds | Arrays:
    """Open an array of clouds as Arrays, and anything else that ``find_files`` knows as Clouds.

    A single .npy of two axes, [P C], is one cloud.
    """
    place = os.path.expanduser(os.fspath(where))
    if place.lower().endswith((".npy", ".npz")) and os.path.isfile(place):
        loaded = load_arrays(place, _KEYS)[:2]
        if loaded[0].ndim != 2:
            return Arrays(where=place, transform=transform, features=features, loaded=loaded)
    files = _shapenet(place) or find_files(place, SUFFIXES)
    return Clouds(files=files, transform=transform, features=features, mesh_points=mesh_points)


_SHAPENET_LINE = re.compile(r"(\d{8})-[0-9a-zA-Z_.-]+\.npy")


def _shapenet(place: str) -> Files | None:
    """Read the authors' ShapeNet-55 lists: names such as 02691156-1a04e3ea.npy, whose first part is the class.

    The files lie in ``shapenet_pc`` beside the list or beside its folder, as Point-MAE's DATASET.md lays them out.
    """
    if not (place.endswith(".txt") and os.path.isfile(place)):
        return None
    with open(place, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    matches = [_SHAPENET_LINE.fullmatch(line) for line in lines]
    found = [match for match in matches if match]
    folder = os.path.dirname(os.path.abspath(place))
    homes = [os.path.join(home, "shapenet_pc") for home in (folder, os.path.dirname(folder))]
    home = next((home for home in homes if os.path.isdir(home)), None)
    if not lines or len(found) < len(lines) or home is None:
        return None
    classes = tuple(sorted({match[1] for match in found}))
    labels = np.array([classes.index(match[1]) for match in found], dtype=np.int32)
    paths = np.array([os.fsencode(os.path.join(home, match[0])) for match in found])
    return Paths(paths=paths, labels=labels, classes=classes)
