"""A masker of several masks per sample."""

from dataclasses import dataclass

import torch

from maskkit.maskers.protocol import Masker
from maskkit.parts import part
from maskkit.step import Step, call
from maskkit.types import Mask, Tokens


@part
@dataclass(frozen=True, kw_only=True)
class Several:
    """Draw several masks per sample: each masker draws ``times`` masks. V-JEPA (arXiv:2404.08471), section 3.1.

    Masks of the same shape are encoded in one pass. The loss is the mean over all masks. Raises ValueError for no
    maskers.
    """

    maskers: tuple[Masker, ...]
    times: int = 1

    def __post_init__(self) -> None:
        """Validate the settings."""
        if not self.maskers or self.times < 1:
            raise ValueError(f"several masks need a masker and times of at least 1, got {self.times}")

    @property
    def varies(self) -> bool:
        """Whether counts change between calls."""
        return any(getattr(each, "varies", False) for each in self.maskers)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *, step: Step) -> tuple[Mask, ...]:
        """Draw the masks one after another from ``rng``."""
        masks: list[Mask] = []
        for masker in self.maskers:
            for _ in range(self.times):
                drawn = call(masker, tokens, rng, step=step)
                masks += [drawn] if isinstance(drawn, Mask) else drawn
        return tuple(masks)
