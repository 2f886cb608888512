"""Point clouds ``[B P 3]``, or ``[B P 3+F]`` with features: inputs, Point-MAE, readers, figures, settings."""

from collections.abc import Mapping

from maskkit.methods import build_model, methods_of
from maskkit.modalities.points.data import Data, open_clouds, samples
from maskkit.modalities.points.drawing import draw
from maskkit.modalities.points.fit import fit
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.inputs import Inputs, inputs
from maskkit.modalities.points.point_mae import PointMAE, point_mae
from maskkit.modalities.points.reader import SUFFIXES
from maskkit.modalities.points.requirements import findings
from maskkit.modalities.points.sample import sample, shape, tiny
from maskkit.modality import MethodSettings, Modality
from maskkit.model import MaskedModel

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

__all__ = [
    "Data",
    "Groups",
    "Inputs",
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
