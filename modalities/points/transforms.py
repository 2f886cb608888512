"""Transforms from the points of a file to the input of a model, in the authors' order (docs/official.md P6).

Point-MAE draws 1024 of 8192 points at random (not by farthest-point sampling, as its paper says), then centres and
scales them to the unit sphere, and stretches and shifts them afterwards. ``normals_at`` is the column where normals
start, None where a cloud has none: they turn with the points, and stay upright on a stretched surface.

P points of a cloud, C = 3 + F numbers per point.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

FEWEST = 16  # points: the smallest cloud that is used


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Draw ``num_points`` points, each at most once; a smaller cloud keeps all that it has.

    Raises ValueError if it has less than ``fewest`` points, or than ``num_points`` if these are fewer.
    """

    num_points: int = 1024
    fewest: int = FEWEST

    def __post_init__(self) -> None:
        for name in ("num_points", "fewest"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "N C"]:
        """Return the points in random order, so that the first one is a random start for sampling."""
        fewest = min(self.fewest, self.num_points)
        if len(points) < fewest:
            mend = "leave it out or sample it more densely"
            if fewest > FEWEST:
                mend = f"{mend}, or set a lower --num-groups"
            raise ValueError(f"holds {len(points)} points, fewer than {fewest}; {mend}")
        return points[torch.randperm(len(points), generator=rng)[: self.num_points]]


@dataclass(frozen=True, kw_only=True)
class Fill:
    """Fill a cloud up to ``num_points`` with points of NaN, which ``Groups`` takes for padding, so that clouds stack.

    Repeated points would make hidden groups copies of visible ones.
    """

    num_points: int = 1024

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "N C"]:
        """Return the points, then NaN, in features too. ``rng`` is not used."""
        return F.pad(points, (0, 0, 0, max(0, self.num_points - len(points))), value=math.nan)


@dataclass(frozen=True, kw_only=True)
class UnitSphere:
    """Move the mean of the points to the origin and the farthest point to distance 1: ``pc_norm`` of ShapeNet."""

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return moved and scaled points; features stay. ``rng`` is not used."""
        xyz = points[:, :3] - points[:, :3].mean(dim=0)
        radius = xyz.norm(dim=1).max()
        return torch.cat([xyz / radius.clamp_min(1e-12), points[:, 3:]], dim=1)


@dataclass(frozen=True, kw_only=True)
class ScaleShift:
    """Stretch each axis by a factor in ``scale`` and shift it by up to ``shift``: ``PointcloudScaleAndTranslate``."""

    scale: tuple[float, float] = (2 / 3, 3 / 2)
    shift: float = 0.2
    normals_at: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two positive factors, the lesser first, got {self.scale}")
        if self.shift < 0:
            raise ValueError(f"shift must not be negative, got {self.shift}")

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return stretched and shifted points. A normal n becomes n / factor, scaled to length 1."""
        low, high = self.scale
        factor = low + (high - low) * torch.rand(3, generator=rng)
        shift = self.shift * (2 * torch.rand(3, generator=rng) - 1)
        out = torch.cat([points[:, :3] * factor + shift, points[:, 3:]], dim=1)
        if self.normals_at is not None:
            normals = slice(self.normals_at, self.normals_at + 3)
            out[:, normals] = F.normalize(points[:, normals] / factor, dim=1)
        return out


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """A random rotation about ``axis`` or in all directions ("all"). Normals are rotated too.

    Not in Point-MAE's pretraining; for data whose upright is not known.
    """

    axis: Literal["x", "y", "z", "all"] = "y"
    normals_at: int | None = None

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return turned points."""
        turn = self._matrix(rng)
        out = points.clone()
        for column in (0,) if self.normals_at is None else (0, self.normals_at):
            out[:, column : column + 3] = points[:, column : column + 3] @ turn.T
        return out

    def _matrix(self, rng: torch.Generator) -> Float[Tensor, "3 3"]:
        if self.axis == "all":  # a unit quaternion, even over all rotations (Shoemake 1992)
            w, x, y, z = F.normalize(torch.randn(4, generator=rng), dim=0).tolist()
            rows = [
                [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
            ]
            return torch.tensor(rows)
        angle = 2 * math.pi * float(torch.rand((), generator=rng))
        still = "xyz".index(self.axis)
        first, second = (still + 1) % 3, (still + 2) % 3
        turn = torch.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        return turn


Step = Subset | UnitSphere | ScaleShift | Rotation | Fill


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A sequence of transforms."""

    steps: tuple[Step, ...]

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Apply the transforms in order."""
        for step in self.steps:
            points = step(points, rng)
        return points


def train_transform(
    num_points: int,
    *,
    fewest: int = FEWEST,
    augment: bool = True,
    rotate: Literal["none", "x", "y", "z", "all"] = "none",
    normals_at: int | None = None,
) -> Chain:
    """Point-MAE's order: subset, unit sphere, then a rotation where asked for, scale and shift; last, what is missing.

    Missing points are NaN, added last, so that no step before need know of them.
    """
    steps: list[Step] = [Subset(num_points=num_points, fewest=fewest), UnitSphere()]
    if rotate != "none":
        steps.append(Rotation(axis=rotate, normals_at=normals_at))
    if augment:
        steps.append(ScaleShift(normals_at=normals_at))
    return Chain(steps=(*steps, Fill(num_points=num_points)))


def eval_transform(num_points: int) -> Chain:
    """Subset and unit sphere; missing points are NaN."""
    return Chain(steps=(Subset(num_points=num_points), UnitSphere(), Fill(num_points=num_points)))
