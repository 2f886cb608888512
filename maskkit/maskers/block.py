"""Masks of the tokens around one of them."""

from dataclasses import dataclass

import torch

from maskkit.maskers.protocol import Rounding, check_ratio, count_both, mask_from_scores, uniform_scores
from maskkit.parts import part
from maskkit.types import Mask, Tokens, take


@part
@dataclass(frozen=True, kw_only=True)
class BlockMasker:
    """Hide the tokens nearest to one of them, drawn at random per sample. Point-MAE (arXiv:2203.06604), "block" mask.

    Nearness is that of ``Tokens.pos``. Padding is left out as ``Uniform`` does.
    """

    ratio: float = 0.6
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Validate the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number per token, on the device of ``rng``; the highest names the middle."""
        draws = uniform_scores(tokens, rng)
        num_tokens, num_visible = count_both(tokens, self.ratio, self.rounding)
        if tokens.valid is not None:
            draws = draws.masked_fill(~tokens.valid, -1.0)
        middle = take(tokens.pos, draws.argmax(dim=1, keepdim=True))
        nearness = -(tokens.pos - middle).square().sum(dim=-1)
        if tokens.valid is not None:
            # Hidden tokens come last among as many as the shortest sample has, so the middle's surroundings go first.
            nearness = nearness.masked_fill(~tokens.valid, -torch.inf)
            order = nearness.argsort(dim=1, descending=True)
            num_hidden = num_tokens - num_visible
            return Mask(visible=order[:, num_hidden:num_tokens], hidden=order[:, :num_hidden])
        return mask_from_scores(nearness, num_visible, valid=None)
