"""A masker in one file."""

from dataclasses import dataclass

import torch

from maskkit.maskers import uniform_scores
from maskkit.parts import part
from maskkit.types import Mask, Tokens


@part
@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Hide one stretch of neighbouring tokens, which starts anywhere and goes on at the beginning."""

    ratio: float = 0.5

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw where the stretch of each sample starts."""
        count = tokens.shape[1]
        start = (uniform_scores(tokens, rng)[:, :1] * count).long()
        order = (start + torch.arange(count, device=start.device)) % count
        hidden = max(1, int(count * self.ratio))
        return Mask(visible=order[:, hidden:], hidden=order[:, :hidden])
