"""From what a file holds to what a model takes, in the authors' order (docs/official.md P6).

Point-MAE draws 1024 of 8192 points at random (not by farthest-point sampling, as its paper says), then centres and
scales them to the unit sphere, and stretches and shifts them afterwards.

P points of a cloud, C = 3 + F numbers a point.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Subset:
    """Draw ``num_points`` points, each at most once; a smaller cloud keeps all and repeats some at random."""

    num_points: int = 1024

    def __post_init__(self) -> None:
        if self.num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {self.num_points}")

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "N C"]:
        """Return the points in random order, so that the first one is a random start for sampling."""
        order = torch.randperm(len(points), generator=rng)[: self.num_points]
        if len(order) < self.num_points:
            again = torch.randint(len(points), (self.num_points - len(order),), generator=rng)
            order = torch.cat([order, again])
        return points[order]


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

    def __post_init__(self) -> None:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale must be two positive factors, the lesser first, got {self.scale}")
        if self.shift < 0:
            raise ValueError(f"shift must not be negative, got {self.shift}")

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return stretched and shifted points; features stay, normals too (the authors use none)."""
        low, high = self.scale
        factor = low + (high - low) * torch.rand(3, generator=rng)
        shift = self.shift * (2 * torch.rand(3, generator=rng) - 1)
        return torch.cat([points[:, :3] * factor + shift, points[:, 3:]], dim=1)


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Turn at random, about ``axis`` or every way ("all"); normals, where they come first of the features, too.

    Not in Point-MAE's pretraining; for data whose upright is not known.
    """

    axis: Literal["x", "y", "z", "all"] = "y"
    has_normals: bool = False

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return turned points."""
        turn = self._matrix(rng)
        end = 6 if self.has_normals else 3
        turned = points[:, :end].unflatten(1, (-1, 3)) @ turn.T
        return torch.cat([turned.flatten(1), points[:, end:]], dim=1)

    def _matrix(self, rng: torch.Generator) -> Float[Tensor, "3 3"]:
        if self.axis == "all":  # a unit quaternion, even over all rotations (Shoemake 1992)
            w, x, y, z = torch.nn.functional.normalize(torch.randn(4, generator=rng), dim=0).tolist()
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


@dataclass(frozen=True, kw_only=True)
class Chain:
    """Transforms one after the other."""

    steps: tuple[Subset | UnitSphere | ScaleShift | Rotation, ...]

    def __call__(self, points: Float[Tensor, "P C"], rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Apply them in order."""
        for step in self.steps:
            points = step(points, rng)
        return points


def train_transform(
    num_points: int,
    *,
    augment: bool = True,
    rotate: Literal["none", "x", "y", "z", "all"] = "none",
    has_normals: bool = False,
) -> Chain:
    """Point-MAE's order: subset, unit sphere, then a rotation where asked for, scale and shift."""
    steps: list[Subset | UnitSphere | ScaleShift | Rotation] = [Subset(num_points=num_points), UnitSphere()]
    if rotate != "none":
        steps.append(Rotation(axis=rotate, has_normals=has_normals))
    return Chain(steps=(*steps, ScaleShift()) if augment else tuple(steps))


def eval_transform(num_points: int) -> Chain:
    """Subset and unit sphere."""
    return Chain(steps=(Subset(num_points=num_points), UnitSphere()))
