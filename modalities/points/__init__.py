"""Point clouds ``[B P 3]``, or ``[B P 3+F]`` with features: inputs, Point-MAE, readers, figures, settings."""

from maskkit.methods import Methods
from maskkit.modalities.points.data import Data, open_clouds, samples
from maskkit.modalities.points.drawing import draw
from maskkit.modalities.points.fit import fit
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.inputs import Inputs, inputs
from maskkit.modalities.points.point_mae import PointMAE, point_mae
from maskkit.modalities.points.reader import SUFFIXES
from maskkit.modalities.points.requirements import findings
from maskkit.modalities.points.sample import sample, shape, tiny
from maskkit.modality import Modality

MODALITY = Modality(
    name="points",
    sample=sample,
    tiny=tiny,
    suffixes=SUFFIXES,
    data=Data,
    open=open_clouds,
    draw=draw,
    inputs=inputs,
    input_settings=Inputs,
    presets={"point-mae": PointMAE},
    fit=fit,
    findings=findings,
    bench="maskkit.modalities.points.bench",
)
open_data = open_clouds
METHODS = Methods(MODALITY)
model = METHODS.model

__all__ = [
    "Data",
    "Groups",
    "Inputs",
    "METHODS",
    "MODALITY",
    "PointMAE",
    "SUFFIXES",
    "draw",
    "findings",
    "inputs",
    "model",
    "open_clouds",
    "open_data",
    "point_mae",
    "sample",
    "samples",
    "shape",
    "tiny",
]
