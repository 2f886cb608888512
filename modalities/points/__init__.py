"""Point clouds ``[B P 3]``, or ``[B P 3+F]`` with features: readers, presets, pictures, and settings."""

from maskkit.modalities.points.data import Data, open_clouds
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.pictures import draw
from maskkit.modalities.points.presets import point_mae
from maskkit.modalities.points.reader import SUFFIXES
from maskkit.modalities.points.requirements import findings
from maskkit.modalities.points.sample import NAME, sample, shape, tiny
from maskkit.modalities.points.settings import Command, PointMAE, restore

open_data = open_clouds  # the name by which the command line opens any modality's data

__all__ = [
    "NAME",
    "Command",
    "Data",
    "Groups",
    "SUFFIXES",
    "PointMAE",
    "draw",
    "findings",
    "open_clouds",
    "open_data",
    "point_mae",
    "restore",
    "sample",
    "shape",
    "tiny",
]
