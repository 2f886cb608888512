"""Point clouds ``[B P 3]``, or ``[B P 3+F]`` with features: readers, presets, pictures, and settings."""

from maskkit.modalities.points.drawing import draw
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.presets import point_mae
from maskkit.modalities.points.readers import SUFFIXES
from maskkit.modalities.points.sample import sample, shape, tiny
from maskkit.modalities.points.settings import Command, Data, PointMAE, open_clouds, restore

from maskkit.modality import Modality

MODALITY = Modality(
    name="points",
    sample=sample,
    tiny=tiny,
    suffixes=SUFFIXES,
    data=Data,
    open=open_clouds,
    draw=draw,
    command=Command,
    restore=restore,
    bench="maskkit.modalities.points.bench",
)
open_data = open_clouds

__all__ = [
    "MODALITY",
    "Command",
    "Data",
    "Groups",
    "SUFFIXES",
    "PointMAE",
    "draw",
    "open_clouds",
    "open_data",
    "point_mae",
    "restore",
    "sample",
    "shape",
    "tiny",
]
