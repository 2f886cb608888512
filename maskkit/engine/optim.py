"""The former path of ``maskkit.optim``."""

from maskkit.optim import EMA, AdamW, Group, WarmupCosine, scaled_lr

__all__ = ["EMA", "AdamW", "Group", "WarmupCosine", "scaled_lr"]
