"""Videos ``[B C T H W]``: inputs of methods, VideoMAE and MAE-ST, readers, figures and settings."""

from collections.abc import Mapping

from maskkit.methods import build_model, methods_of
from maskkit.modalities.video import transcode as cache
from maskkit.modalities.video.data import Data, open_videos, samples
from maskkit.modalities.video.decoders import VIDEO_SUFFIXES, find_decoder, findings, open_video
from maskkit.modalities.video.drawing import draw
from maskkit.modalities.video.fit import fit
from maskkit.modalities.video.inputs import Inputs, inputs, patches
from maskkit.modalities.video.mae_st import MAEST, mae_st
from maskkit.modalities.video.sample import moving_digits, sample, tiny
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.videomae import NO_DECAY, VideoMAE, videomae
from maskkit.modality import MethodSettings, Modality
from maskkit.model import MaskedModel

SUFFIXES = VIDEO_SUFFIXES


def migrate(settings: dict[str, object]) -> tuple[str, dict[str, object]]:
    """Return the method of a run that an earlier version wrote, which named it in its model, and the settings."""
    model = dict(settings["model"])  # type: ignore[call-overload]  # it was a mapping in every version
    name = str(model.pop("method", "videomae"))
    if name == "videomae":
        model.pop("pred_t_dim", None)
    return name, {**settings, "model": model}


MODALITY = Modality(
    name="video",
    sample=sample,
    tiny=tiny,
    suffixes=SUFFIXES,
    data=Data,
    open=open_videos,
    draw=draw,
    inputs=inputs,
    input_settings=Inputs,
    presets={"videomae": VideoMAE, "mae-st": MAEST},
    fit=fit,
    migrate=migrate,
    findings=findings,
    transcode=cache.main,
    bench="maskkit.modalities.video.bench",
)
open_data = open_videos

__all__ = [
    "Data",
    "Inputs",
    "MAEST",
    "MODALITY",
    "NO_DECAY",
    "SUFFIXES",
    "Sampling",
    "VIDEO_SUFFIXES",
    "VideoMAE",
    "cache",
    "draw",
    "find_decoder",
    "findings",
    "inputs",
    "mae_st",
    "model",
    "moving_digits",
    "open_data",
    "open_video",
    "open_videos",
    "patches",
    "sample",
    "samples",
    "tiny",
    "videomae",
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
