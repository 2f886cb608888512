"""Masked modelling for images, video, audio and point clouds.

One engine serves them all: tokenize, mask, encode, decode. A method is a choice of six parts (see ``maskkit.model``).
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
    """Import a public name when it is first used: ``maskkit --help`` need not wait for torch.

    The command line also has to set OpenMP's waiting policy, which counts only before torch is loaded.
    """
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in __all__:
        return importlib.import_module(f"maskkit.{name}")
    raise AttributeError(f"module maskkit has no attribute {name!r}")
