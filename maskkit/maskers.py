"""Maskers decide which tokens are seen and which are predicted: ``(tokens, rng) -> Mask``.

Most maskers only score tokens; the lowest scores stay visible, and ``mask_from_scores`` does the rest. Papers round
the ratio on different sides (docs/official.md Q1), so every masker states its rule.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maskkit.parts import part
from maskkit.types import Mask, Tokens

Rounding = Literal["keep", "hide"]


@runtime_checkable
class Masker(Protocol):
    """Decides: (tokens, rng) -> Mask. The same state of ``rng`` gives the same mask."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw a mask from ``rng``, or from torch's global generator."""


def count_visible(num_tokens: int, ratio: float, rounding: Rounding) -> int:
    """Return how many of ``num_tokens`` stay visible when a share ``ratio`` is hidden.

    ``keep``: keep int(N (1 - ratio)), as MAE, Audio-MAE and Hiera do. ``hide``: hide int(N ratio), as VideoMAE and
    Point-MAE do. Both truncate the float64 product exactly as the authors' lines do.

    >>> count_visible(512, 0.8, "keep"), count_visible(512, 0.8, "hide")
    (102, 103)
    """
    visible = int(num_tokens * (1 - ratio)) if rounding == "keep" else num_tokens - int(ratio * num_tokens)
    if not 0 < visible < num_tokens:
        left = "visible" if visible < 1 else "hidden"
        raise ValueError(
            f"mask ratio {ratio} of {num_tokens} tokens leaves no {left} token; choose another ratio or smaller patches"
        )
    return visible


def mask_from_scores(
    scores: Float[Tensor, "B N"], num_visible: int, *, num_hidden: int | None = None, valid: Bool[Tensor, "B N"] | None
) -> Mask:
    """Show the ``num_visible`` lowest scores of each sample and hide the ``num_hidden`` next (default: all others).

    Padding is never shown and never hidden, provided that each sample has enough valid tokens for both.
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.inf)
    order = scores.argsort(dim=1)
    end = scores.shape[1] if num_hidden is None else num_visible + num_hidden
    return Mask(visible=order[:, :num_visible], hidden=order[:, num_visible:end])


def check_ratio(ratio: float) -> None:
    """Raise ValueError unless a mask ratio lies in (0, 1)."""
    if not 0 < ratio < 1:
        raise ValueError(f"mask ratio must lie in (0, 1), got {ratio}")


@part
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Hide a fixed share of tokens, evenly at random per sample. MAE (arXiv:2111.06377), section 3, "Masking".

    In a padded batch the shortest sample sets both counts, so that every sample shows and hides as many tokens; the
    rest of the longer ones is in neither set.
    """

    ratio: float = 0.75
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a token, on the device of ``rng``."""
        num_tokens = tokens.shape[1] if tokens.valid is None else int(tokens.valid.sum(dim=1).min())
        num_visible = count_visible(num_tokens, self.ratio, self.rounding)
        scores = uniform_scores(tokens, rng)
        return mask_from_scores(scores, num_visible, num_hidden=num_tokens - num_visible, valid=tokens.valid)


@part
@dataclass(frozen=True, kw_only=True)
class TubeMasker:
    """Hide the same cells in every slot of the grid's first axis. VideoMAE (arXiv:2203.12602), section 3.3.

    With time as the first axis these are tubes: what is hidden in one slot cannot be copied from another. The ratio
    is applied to the cells of one slot, as masking_generator.py does: 0.9 of 14 x 14 hides 176 and shows 20 in each of
    8 slots. The authors draw masks on the CPU, sample by sample in the data set (docs/official.md V7); here they are
    drawn where ``rng`` lives, for a whole batch at once.
    """

    ratio: float = 0.9
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a cell of a slot, on the device of ``rng``."""
        slots, cells = _slots_and_cells(tokens, "a tube mask")
        num_visible = count_visible(cells, self.ratio, self.rounding)
        order = _uniform(tokens.shape[0], cells, tokens, rng).argsort(dim=1)
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
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a slot, on the device of ``rng``."""
        slots, cells = _slots_and_cells(tokens, "a frame mask")
        num_visible = count_visible(slots, self.ratio, self.rounding)
        order = _uniform(tokens.shape[0], slots, tokens, rng).argsort(dim=1)
        cell = torch.arange(cells, device=order.device)
        visible, hidden = (part[..., None] * cells + cell for part in (order[:, :num_visible], order[:, num_visible:]))
        return Mask(visible=visible.flatten(1), hidden=hidden.flatten(1))


def _slots_and_cells(tokens: Tokens, what: str) -> tuple[int, int]:
    """Return the length of the grid's first axis and the number of cells in each of its slots."""
    if tokens.grid is None or tokens.valid is not None:
        raise ValueError(f"{what} needs tokens that fill a grid, without padding; choose Uniform for others")
    return tokens.grid[0], math.prod(tokens.grid[1:])


def uniform_scores(tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    """Return one number in [0, 1) a token. Drawn where ``rng`` lives, so a CPU generator gives all devices one mask."""
    return _uniform(*tokens.shape, tokens, rng)


def _uniform(batch: int, count: int, tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    device = tokens.x.device if rng is None else rng.device
    return torch.rand(batch, count, generator=rng, device=device).to(tokens.x.device)
