"""A masker of a token and its neighbours."""

from dataclasses import dataclass

import torch

from maskkit.maskers.protocol import Rounding, check_ratio, count_both, mask_from_scores, uniform_scores
from maskkit.parts import part
from maskkit.types import Mask, Tokens, take


@part
@dataclass(frozen=True, kw_only=True)
class BlockMasker:
    """Hide a random token of each sample and the tokens nearest to it. Point-MAE (arXiv:2203.06604), "block" mask.

    Distances are those of ``Tokens.pos``. Padding is treated as in ``Uniform``. Raises ValueError unless ``ratio`` lies
    in (0, 1).
    """

    ratio: float = 0.6
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Validate the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number per token, on the device of ``rng``. The highest selects the central token."""
        draws = uniform_scores(tokens, rng)
        num_tokens, num_visible = count_both(tokens, self.ratio, self.rounding)
        if tokens.valid is not None:
            draws = draws.masked_fill(~tokens.valid, -1.0)
        middle = take(tokens.pos, draws.argmax(dim=1, keepdim=True))
        nearness = -(tokens.pos - middle).square().sum(dim=-1)
        if tokens.valid is not None:
            # The last of as many tokens as the shortest sample has are hidden, so the tokens nearest to the centre are
            # hidden.
            nearness = nearness.masked_fill(~tokens.valid, -torch.inf)
            order = nearness.argsort(dim=1, descending=True)
            num_hidden = num_tokens - num_visible
            return Mask(visible=order[:, num_hidden:num_tokens], hidden=order[:, :num_hidden])
        return mask_from_scores(nearness, num_visible, valid=None)
