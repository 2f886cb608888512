"""Decoders predict the tokens that ``mask.hidden`` names: ``(latent, tokens, mask) -> prediction [B K T]``.

Shapes: B samples, N tokens, V visible tokens, K predicted tokens, D width, T width of a target, R prefix tokens.

A decoder reads the coordinates of ``tokens`` and not their contents, unless its attribute ``reads_hidden`` is True.
``maskkit.testing`` checks this.
"""

from maskkit.decoder.cross import CrossDecoder
from maskkit.decoder.joint import JointDecoder
from maskkit.decoder.linear import LinearDecoder
from maskkit.decoder.protocol import Decoder
from maskkit.decoder.window import WindowDecoder
from maskkit.decoder.wrappers import AtLevel, PerBlock

__all__ = ["AtLevel", "CrossDecoder", "Decoder", "JointDecoder", "LinearDecoder", "PerBlock", "WindowDecoder"]
