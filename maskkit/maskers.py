"""Maskers decide which tokens are seen and which are predicted: ``(tokens, rng) -> Mask``.

Most maskers only score tokens; the lowest scores stay visible, and ``mask_from_scores`` does the rest. Papers round
the ratio on different sides (docs/official.md Q1), so every masker states its rule.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maskkit.parts import part
from maskkit.types import Mask, Tokens, take

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
class Ball:
    """Hide the tokens nearest to one of them, drawn at random per sample. Point-MAE (arXiv:2203.06604), "block" mask.

    Nearness is that of ``Tokens.pos``. Padding is left out as ``Uniform`` does.
    """

    ratio: float = 0.6
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a token, on the device of ``rng``; the highest names the middle."""
        draws = uniform_scores(tokens, rng)
        num_tokens = tokens.shape[1]
        if tokens.valid is not None:
            num_tokens = int(tokens.valid.sum(dim=1).min())
            draws = draws.masked_fill(~tokens.valid, -1.0)
        middle = take(tokens.pos, draws.argmax(dim=1, keepdim=True))
        nearness = -(tokens.pos - middle).square().sum(dim=-1)
        num_visible = count_visible(num_tokens, self.ratio, self.rounding)
        if tokens.valid is not None:
            # Hidden tokens come last among as many as the shortest sample has, so the middle's surroundings go first.
            nearness = nearness.masked_fill(~tokens.valid, -torch.inf)
            order = nearness.argsort(dim=1, descending=True)
            num_hidden = num_tokens - num_visible
            return Mask(visible=order[:, num_hidden:num_tokens], hidden=order[:, :num_hidden])
        return mask_from_scores(nearness, num_visible, valid=None)


def uniform_scores(tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    """Return one number in [0, 1) a token. Drawn where ``rng`` lives, so a CPU generator gives all devices one mask."""
    device = tokens.x.device if rng is None else rng.device
    return torch.rand(tokens.shape, generator=rng, device=device).to(tokens.x.device)
