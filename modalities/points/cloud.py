"""What a point-cloud file holds, and the points that a model is given of it.

P points, T triangles, C = 3 + F numbers per point: x, y, z, then the features asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

Feature = Literal["normals", "colours", "intensity"]
Array = NDArray[np.float64]

WIDTHS: dict[str, int] = {"normals": 3, "colours": 3, "intensity": 1}


@dataclass(frozen=True)
class Cloud:
    """What a file holds: points [P 3], features by name [P F], and the triangles [T 3] of a mesh.

    Coordinates are in the file's own unit. Normals have length 1; colours lie in 0..1.
    """

    xyz: Array
    features: dict[str, Array] = field(default_factory=dict)
    triangles: NDArray[np.int64] | None = None

    @property
    def is_mesh(self) -> bool:
        """Whether there are triangles."""
        return self.triangles is not None and len(self.triangles) > 0


def sample_cloud(cloud: Cloud, names: Sequence[Feature], rng: torch.Generator, at_least: int) -> Float[Tensor, "P C"]:
    """Return a cloud's points as float32, moved near the origin; a mesh is sampled evenly by area, ``at_least`` times.

    A mesh's normals are those of its triangles. Raises ValueError for a feature it lacks.
    """
    offset = cloud.xyz.mean(axis=0)  # subtracted in float64: float32 would lose the digits of large coordinates
    if cloud.triangles is None or not cloud.is_mesh:
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


def keep_finite(cloud: Cloud, names: Sequence[Feature] = ()) -> Cloud:
    """Leave out points that are not finite, and triangles that use one. Raises ValueError if too little is left.

    A point is finite if its coordinates and its features called ``names`` are; features that nobody asked for do not
    matter, and neither do the normals of a mesh, which follow from its triangles. A cloud needs at least two distinct
    points.
    """
    if len(cloud.xyz) == 0:
        raise ValueError("holds no points")
    # float32 ends at 3e38, and distances are squared. The comparison is False for NaN.
    good: NDArray[np.bool_] = np.all(np.abs(cloud.xyz) < 1e15, axis=1)
    for name in names:
        if name in cloud.features and not (name == "normals" and cloud.is_mesh):
            good &= np.isfinite(cloud.features[name]).all(axis=1)
    if not good.any():
        raise ValueError(f"none of its {len(good)} points is finite")
    if not good.all():
        new_index = good.cumsum() - 1
        triangles = cloud.triangles
        if triangles is not None:
            triangles = new_index[triangles[good[triangles].all(axis=1)]]
        cloud = Cloud(cloud.xyz[good], {name: v[good] for name, v in cloud.features.items()}, triangles)
    if (np.ptp(cloud.xyz, axis=0) == 0).all():
        raise ValueError(f"all of its {len(cloud.xyz)} points are equal")
    return cloud


def scale_integers(values: NDArray[np.generic]) -> Array:
    """Return colours or intensities [P F] in 0..1. The type of the values and the greatest one tell what stands for 1.

    16-bit values that all fit into 8 bits are 8-bit ones in wider fields (LAS 1.4, table 7, asks for 16 bits, and many
    writers do not comply). Floats above 1 run to 255. Other numbers of bits are not guessed: files of one data set
    would differ in scale.
    """
    most = values.max(initial=0, where=np.isfinite(values)) if values.dtype.kind == "f" else values.max(initial=0)
    if values.dtype.kind == "f":
        full = 255.0 if 1 < most <= 255 else 65535.0 if most > 255 else 1.0
    else:
        full = 65535.0 if values.dtype.itemsize > 1 and most > 255 else 255.0
    return values.astype(np.float64) / full
