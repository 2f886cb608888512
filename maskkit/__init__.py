"""Masked modelling for images, video, audio and point clouds.

One engine serves them all: tokenize, mask, encode, decode. A method is a choice of six parts (see ``maskkit.model``).
"""

from maskkit import weights
from maskkit.model import MaskedModel
from maskkit.types import Latent, Mask, Output, Tokens

__version__ = "0.1.0"
__all__ = ["Latent", "Mask", "MaskedModel", "Output", "Tokens", "weights"]
