"""The old path of ``maskkit.drawing.curve``; it goes with the next release."""

from maskkit.drawing.curve import draw_loss

__all__ = ["draw_loss"]
