"""Images ``[B C H W]``: inputs of methods, MAE, readers, figures and settings."""

from maskkit.methods import Methods
from maskkit.modalities.image.data import Data, open_images, samples
from maskkit.modalities.image.drawing import draw
from maskkit.modalities.image.fit import fit
from maskkit.modalities.image.inputs import Inputs, inputs, patches
from maskkit.modalities.image.mae import MAE, mae
from maskkit.modalities.image.reader import SUFFIXES
from maskkit.modalities.image.requirements import findings
from maskkit.modalities.image.sample import digits, sample, tiny
from maskkit.modality import Modality

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
METHODS = Methods(MODALITY)
model = METHODS.model

__all__ = [
    "Data",
    "Inputs",
    "MAE",
    "METHODS",
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
