"""Images ``[B C H W]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.image.drawing import draw
from maskkit.modalities.image.presets import mae, patches
from maskkit.modalities.image.readers import SUFFIXES
from maskkit.modalities.image.sample import digits, sample, tiny
from maskkit.modalities.image.settings import MAE, Command, Data, open_images, restore

from maskkit.modality import Modality

MODALITY = Modality(
    name="image",
    sample=sample,
    tiny=tiny,
    suffixes=SUFFIXES,
    data=Data,
    open=open_images,
    draw=draw,
    command=Command,
    restore=restore,
    bench="maskkit.modalities.image.bench",
)
open_data = open_images

__all__ = [
    "MAE",
    "MODALITY",
    "SUFFIXES",
    "Command",
    "Data",
    "digits",
    "draw",
    "mae",
    "open_data",
    "open_images",
    "patches",
    "restore",
    "sample",
    "tiny",
]
