"""The name that ``maskkit.optim`` had before 0.2."""

from maskkit.optim import EMA, AdamW, Group, WarmupCosine, scaled_lr

__all__ = ["EMA", "AdamW", "Group", "WarmupCosine", "scaled_lr"]
