"""Masked modelling for images, video, audio and point clouds.

One engine serves all modalities: tokenize, mask, encode, decode. A model consists of six parts (see ``maskkit.model``).
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskkit import maskers, testing, weights
    from maskkit.batches import Fields
    from maskkit.model import MaskedModel
    from maskkit.types import Latent, Mask, Output, Tokens

__version__ = "0.1.0"
__all__ = ["Fields", "Latent", "Mask", "MaskedModel", "Output", "Tokens", "maskers", "testing", "weights"]

_HOMES = {
    "Fields": "maskkit.batches",
    "MaskedModel": "maskkit.model",
    **dict.fromkeys(("Latent", "Mask", "Output", "Tokens"), "maskkit.types"),
}


def __getattr__(name: str) -> object:
    """Import a public name on first use, so that ``maskkit --help`` does not import torch.

    The command line also sets OpenMP's wait policy, which takes effect only before torch is imported.
    """
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"maskkit.{name}")
    raise AttributeError(f"module maskkit has no attribute {name!r}")
