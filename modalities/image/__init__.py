"""Images ``[B C H W]``: inputs of methods, MAE, readers, figures and settings."""

from collections.abc import Mapping

from maskkit.methods import build_model, methods_of
from maskkit.modalities.image.data import Data, open_images, samples
from maskkit.modalities.image.drawing import draw
from maskkit.modalities.image.fit import fit
from maskkit.modalities.image.inputs import Inputs, inputs, patches
from maskkit.modalities.image.mae import MAE, mae
from maskkit.modalities.image.reader import SUFFIXES
from maskkit.modalities.image.requirements import findings
from maskkit.modalities.image.sample import digits, sample, tiny
from maskkit.modality import MethodSettings, Modality
from maskkit.model import MaskedModel

MODALITY = Modality(
    name="image",
    sample=sample,
    tiny=tiny,
    suffixes=SUFFIXES,
    data=Data,
    open=open_images,
    draw=draw,
    inputs=inputs,
    input_settings=Inputs,
    presets={"mae": MAE},
    fit=fit,
    findings=findings,
    bench="maskkit.modalities.image.bench",
)
open_data = open_images

__all__ = [
    "Data",
    "Inputs",
    "MAE",
    "MODALITY",
    "SUFFIXES",
    "digits",
    "draw",
    "findings",
    "inputs",
    "mae",
    "model",
    "open_data",
    "open_images",
    "patches",
    "sample",
    "samples",
    "tiny",
]


def model(name: str, size: str | None = None, **settings: object) -> MaskedModel:
    """Build a model from the names of its method and size. ``METHODS`` lists the methods and their settings.

    Raises ValueError for a method, size or setting that does not exist.
    """
    return build_model(MODALITY, name, size, **settings)


def __getattr__(name: str) -> Mapping[str, type[MethodSettings]]:
    """Look up ``METHODS`` on access, since installed packages can add methods."""
    if name == "METHODS":
        return methods_of(MODALITY)
    raise AttributeError(f"module {__name__} has no attribute {name!r}")
