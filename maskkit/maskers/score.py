"""A masker of the tokens with the highest scores."""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.maskers.protocol import Rounding, check_ratio, count_both, mask_from_scores, uniform_scores
from maskkit.parts import part
from maskkit.step import Step, call
from maskkit.types import Mask, Tokens


class Score(Protocol):
    """Scores tokens: (tokens, rng) -> [B N]. A score that depends on the model declares ``*, step``."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *_: Any, **__: Any) -> Float[Tensor, "B N"]:
        """Return one number per token. The highest are hidden first."""


@part
@dataclass(frozen=True, kw_only=True)
class ByScore:
    """Hide the tokens with the highest scores. AttMask (arXiv:2203.12719) and HPM (arXiv:2304.05919).

    The share of hidden tokens changes linearly over the run from ``ratio`` to ``end_ratio``. A share of the hidden
    tokens is chosen by score; it changes linearly from ``start_share`` to ``end_share`` and is rounded down. The other
    hidden tokens are drawn uniformly from the rest. HPM goes from 0 to 0.5, AttMask has 1 throughout. ``Mask.scores``
    holds the scores, without their gradient. Ratios lie in (0, 1) and shares in [0, 1]; raises ValueError otherwise.
    """

    score: Score
    ratio: float = 0.75
    end_ratio: float | None = None
    start_share: float = 1.0
    end_share: float = 1.0
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Validate the settings."""
        for ratio in (self.ratio, self.ratio if self.end_ratio is None else self.end_ratio):
            check_ratio(ratio)
        if not (0 <= self.start_share <= 1 and 0 <= self.end_share <= 1):
            raise ValueError(f"shares must lie in [0, 1], got {self.start_share} and {self.end_share}")

    @property
    def varies(self) -> bool:
        """True if the counts change over the run."""
        return self.end_ratio is not None and self.end_ratio != self.ratio

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *, step: Step) -> Mask:
        """Draw one uniform number per token, on the device of ``rng``."""
        end = self.ratio if self.end_ratio is None else self.end_ratio
        ratio = self.ratio + (end - self.ratio) * step.progress
        share = self.start_share + (self.end_share - self.start_share) * step.progress
        num_tokens, num_visible = count_both(tokens, ratio, self.rounding)
        noise = uniform_scores(tokens, rng)
        with torch.no_grad():
            scores = call(self.score, tokens, rng, step=step).float()
        if tokens.valid is not None:
            scores = scores.masked_fill(~tokens.valid, -torch.inf)
        forced = scores.argsort(dim=1, descending=True)[:, : int((num_tokens - num_visible) * share)]
        order = noise.scatter_add(1, forced, torch.ones_like(noise))  # above all scores that are drawn uniformly
        mask = mask_from_scores(order, num_visible, num_hidden=num_tokens - num_visible, valid=tokens.valid)
        return Mask(visible=mask.visible, hidden=mask.hidden, scores=scores)
