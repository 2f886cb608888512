"""A masker of units of neighbouring tokens."""

import math
from dataclasses import dataclass

import torch

from maskkit.maskers.protocol import check_ratio, draw_uniform
from maskkit.maskers.uniform import Uniform
from maskkit.parts import part
from maskkit.types import Mask, Tokens


@part
@dataclass(frozen=True, kw_only=True)
class UnitMasker:
    """Hide units of neighbouring tokens, which tile the grid. SimMIM (arXiv:2111.09886), section 3.2.

    ``unit`` is the number of tokens along each axis of the grid, which it must divide. The number of hidden units is
    rounded up, ``ceil(units ratio)``, as in ``data_simmim.py``: 30 of 49 units are 120 of 196 tokens. In a padded
    batch, which would cut units, single tokens are hidden as by ``Uniform``. Raises ValueError for a unit that does not
    fit the grid.
    """

    unit: tuple[int, ...]
    ratio: float = 0.6

    def __post_init__(self) -> None:
        """Validate the settings."""
        check_ratio(self.ratio)
        if not self.unit or min(self.unit) < 1:
            raise ValueError(f"unit must be at least 1 token along each axis, got {self.unit}")

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number per unit, on the device of ``rng``."""
        if tokens.valid is not None:
            return Uniform(ratio=self.ratio, rounding="hide")(tokens, rng)
        grid = tokens.grid
        if grid is None or len(grid) != len(self.unit) or any(g % u for g, u in zip(grid, self.unit, strict=True)):
            raise ValueError(f"units of {self.unit} tokens do not fill the grid {grid}; choose a unit that divides it")
        counts = [length // step for length, step in zip(grid, self.unit, strict=True)]
        num_units = math.prod(counts)
        num_hidden = math.ceil(num_units * self.ratio)
        if num_hidden >= num_units:
            raise ValueError(f"mask ratio {self.ratio} of {num_units} units leaves none visible; choose smaller units")
        noise = draw_uniform(tokens.shape[0], num_units, tokens, rng)
        hidden = noise.argsort(dim=1).argsort(dim=1) < num_hidden
        spread = hidden.view(-1, *counts)
        for axis, step in enumerate(self.unit):
            spread = spread.repeat_interleave(step, dim=1 + axis)
        order = spread.flatten(1).int().argsort(dim=1, stable=True)
        num_visible = (num_units - num_hidden) * math.prod(self.unit)
        return Mask(visible=order[:, :num_visible], hidden=order[:, num_visible:])
