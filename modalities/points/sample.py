"""A built-in sample and a small model for it, for tests and examples."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.modalities.points.point_mae import point_mae
from maskkit.model import MaskedModel


def sample(count: int = 16, num_points: int = 256) -> Float[Tensor, "B P 3"]:
    """Return points on spheres, tori, boxes and cones in turn, each turned and stretched, in the unit sphere."""
    rng = torch.Generator().manual_seed(0)
    return torch.stack([shape(number % 4, num_points, rng) for number in range(count)])


def shape(kind: int, num_points: int, rng: torch.Generator) -> Float[Tensor, "P 3"]:
    """Return points on one of four surfaces, even to the eye: 0 sphere, 1 torus, 2 box, 3 cone."""
    u, v = torch.rand(2, num_points, generator=rng)
    angle = 2 * math.pi * u
    ring = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)
    up = torch.tensor([0.0, 0.0, 1.0])
    if kind == 0:
        points = ring * (1 - (2 * v - 1) ** 2).sqrt()[:, None] + up * (2 * v - 1)[:, None]
    elif kind == 1:
        turn = 2 * math.pi * v
        points = ring * (1 + 0.35 * turn.cos())[:, None] + up * (0.35 * turn.sin())[:, None]
    elif kind == 2:
        side = torch.randint(6, (num_points,), generator=rng)
        points = torch.stack([2 * u - 1, 2 * v - 1, torch.where(side < 3, -1.0, 1.0)], dim=1)
        columns = (torch.arange(3) + side[:, None]) % 3
        points = points.gather(1, columns)
    else:
        points = ring * v.sqrt()[:, None] + up * (1 - 2 * v.sqrt())[:, None]
    turned = torch.linalg.qr(torch.randn(3, 3, generator=rng))[0]
    points = points * (0.6 + 0.8 * torch.rand(3, generator=rng)) @ turned
    points = points - points.mean(dim=0)
    return points / points.norm(dim=1).max()


def tiny() -> MaskedModel:
    """Return a model small enough to train on the sample in a test."""
    return point_mae(num_points=256, num_groups=16, group_size=16, dim=96, depth=3, heads=3, decoder_depth=2)
