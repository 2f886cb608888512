"""Sizes of vision transformers by name."""

from dataclasses import dataclass
from typing import Literal

Size = Literal["tiny", "small", "base", "large", "huge"]


@dataclass(frozen=True)
class ViT:
    """Width, number of blocks and number of heads of a transformer."""

    dim: int
    depth: int
    heads: int


# Dosovitskiy et al. 2020 (arXiv:2010.11929), table 1; tiny and small are DeiT's (arXiv:2012.12877), table 1.
SIZES: dict[str, ViT] = {
    "tiny": ViT(192, 12, 3),
    "small": ViT(384, 12, 6),
    "base": ViT(768, 12, 12),
    "large": ViT(1024, 24, 16),
    "huge": ViT(1280, 32, 16),
}


def vit(size: str | None) -> ViT:
    """Return a size by name; None is "base". Raises ValueError for an unknown name."""
    if (size or "base") not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    return SIZES[size or "base"]
