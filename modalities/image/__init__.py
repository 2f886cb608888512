"""Images ``[B C H W]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.image.data import Data, open_images, samples
from maskkit.modalities.image.pictures import draw
from maskkit.modalities.image.presets import mae, patches
from maskkit.modalities.image.reader import SUFFIXES
from maskkit.modalities.image.sample import NAME, digits, sample, tiny
from maskkit.modalities.image.settings import MAE, Command, restore

open_data = open_images  # the name by which the command line opens any modality's data

__all__ = [
    "MAE",
    "NAME",
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
    "samples",
    "tiny",
]
