"""Images ``[B C H W]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.image.pictures import draw
from maskkit.modalities.image.presets import mae, patches
from maskkit.modalities.image.readers import SUFFIXES
from maskkit.modalities.image.requirements import findings
from maskkit.modalities.image.sample import NAME, digits, sample, tiny
from maskkit.modalities.image.settings import MAE, Command, Data, open_images, restore

open_data = open_images  # the name by which the command line opens any modality's data

__all__ = [
    "MAE",
    "NAME",
    "SUFFIXES",
    "Command",
    "Data",
    "digits",
    "draw",
    "findings",
    "mae",
    "open_data",
    "open_images",
    "patches",
    "restore",
    "sample",
    "tiny",
]
