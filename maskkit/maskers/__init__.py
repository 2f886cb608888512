"""Maskers choose the visible and the hidden tokens: ``(tokens, rng) -> Mask``, or several masks per sample.

Shapes: B samples, N tokens, A axes of a grid.

Most maskers only compute a score per token. ``mask_from_scores`` then keeps the tokens with the lowest scores visible.
Published methods round the ratio in different ways (docs/official.md Q1), so every masker states its rule.
"""

from maskkit.maskers.block import BlockMasker
from maskkit.maskers.protocol import (
    Masker,
    Rounding,
    check_ratio,
    count_both,
    count_visible,
    mask_from_scores,
    uniform_scores,
)
from maskkit.maskers.registry import make, names
from maskkit.maskers.score import ByScore, Score
from maskkit.maskers.several import Several
from maskkit.maskers.slots import FrameMasker, TubeMasker
from maskkit.maskers.stripes import Stripes
from maskkit.maskers.uniform import Uniform
from maskkit.maskers.units import UnitMasker

__all__ = [
    "BlockMasker",
    "ByScore",
    "FrameMasker",
    "Masker",
    "Rounding",
    "Score",
    "Several",
    "Stripes",
    "TubeMasker",
    "Uniform",
    "UnitMasker",
    "check_ratio",
    "count_both",
    "count_visible",
    "make",
    "mask_from_scores",
    "names",
    "uniform_scores",
]


def __getattr__(name: str) -> tuple[str, ...]:
    """Look up ``NAMES`` on access, since installed packages can add maskers."""
    if name == "NAMES":
        return names()
    raise AttributeError(f"module maskkit.maskers has no attribute {name!r}")
