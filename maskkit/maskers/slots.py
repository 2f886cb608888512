"""Maskers of tubes and of frames: of cells or slots of the first axis of a grid."""

import math
from dataclasses import dataclass

import torch

from maskkit.maskers.protocol import Rounding, check_ratio, count_visible, draw_uniform
from maskkit.parts import part
from maskkit.types import Mask, Tokens


@part
@dataclass(frozen=True, kw_only=True)
class TubeMasker:
    """Hide the same cells in every slot of the grid's first axis. VideoMAE (arXiv:2203.12602), section 3.3.

    If the first axis is time, these are tubes: hidden contents cannot be copied from another time. The ratio applies to
    the cells of one slot, as in masking_generator.py: 0.9 of 14 x 14 cells hides 176 and shows 20 in each of 8 slots.
    The authors draw masks on the CPU, per sample in the data set (docs/official.md V7); here they are drawn on the
    device of ``rng``, for a whole batch. Raises ValueError for tokens that fill no grid.
    """

    ratio: float = 0.9
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Validate the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number per cell of a slot, on the device of ``rng``."""
        slots, cells = _slots_and_cells(tokens, "a tube mask")
        num_visible = count_visible(cells, self.ratio, self.rounding)
        order = draw_uniform(tokens.shape[0], cells, tokens, rng).argsort(dim=1)
        first = torch.arange(slots, device=order.device)[:, None] * cells
        visible, hidden = (part[:, None] + first for part in (order[:, :num_visible], order[:, num_visible:]))
        return Mask(visible=visible.flatten(1), hidden=hidden.flatten(1))


@part
@dataclass(frozen=True, kw_only=True)
class FrameMasker:
    """Hide whole slots of the grid's first axis. VideoMAE (arXiv:2203.12602), section 4.3, "frame masking"."""

    ratio: float = 0.75
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Validate the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number per slot, on the device of ``rng``."""
        slots, cells = _slots_and_cells(tokens, "a frame mask")
        num_visible = count_visible(slots, self.ratio, self.rounding)
        order = draw_uniform(tokens.shape[0], slots, tokens, rng).argsort(dim=1)
        cell = torch.arange(cells, device=order.device)
        visible, hidden = (part[..., None] * cells + cell for part in (order[:, :num_visible], order[:, num_visible:]))
        return Mask(visible=visible.flatten(1), hidden=hidden.flatten(1))


def _slots_and_cells(tokens: Tokens, what: str) -> tuple[int, int]:
    """Return the length of the grid's first axis and the number of cells in each of its slots."""
    if tokens.grid is None or tokens.valid is not None:
        raise ValueError(f"{what} needs tokens that fill a grid, without padding; choose Uniform for others")
    return tokens.grid[0], math.prod(tokens.grid[1:])
