"""Images ``[B C H W]``."""

from maskkit.modalities.image.presets import mae, patches
from maskkit.modalities.image.sample import NAME, sample, tiny

__all__ = ["NAME", "mae", "patches", "sample", "tiny"]
