"""The former path of ``maskkit.drawing.curve``. It will be removed in the next release."""

from maskkit.drawing.curve import draw_loss

__all__ = ["draw_loss"]
