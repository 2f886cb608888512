"""A masker of tokens drawn uniformly at random."""

from dataclasses import dataclass

import torch

from maskkit.maskers.protocol import Rounding, check_ratio, count_both, mask_from_scores, uniform_scores
from maskkit.parts import part
from maskkit.types import Mask, Tokens


@part
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Hide a fixed share of tokens, uniformly at random per sample. MAE (arXiv:2111.06377), section 3, "Masking".

    In a padded batch the shortest sample determines the counts of visible and hidden tokens of all samples. The other
    tokens of longer samples are in neither set. Raises ValueError unless ``ratio`` lies in (0, 1).
    """

    ratio: float = 0.75
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Validate the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number per token, on the device of ``rng``."""
        num_tokens, num_visible = count_both(tokens, self.ratio, self.rounding)
        scores = uniform_scores(tokens, rng)
        return mask_from_scores(scores, num_visible, num_hidden=num_tokens - num_visible, valid=tokens.valid)
