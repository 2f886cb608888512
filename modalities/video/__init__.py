"""Videos ``[B C T H W]``: inputs of methods, VideoMAE and MAE-ST, readers, figures and settings."""

from maskkit.methods import Methods
from maskkit.modalities.video.data import Data, open_videos, samples
from maskkit.modalities.video.decoders import VIDEO_SUFFIXES, find_decoder, findings, open_video
from maskkit.modalities.video.drawing import draw
from maskkit.modalities.video.fit import fit
from maskkit.modalities.video.inputs import Inputs, inputs, patches
from maskkit.modalities.video.mae_st import MAEST, mae_st
from maskkit.modalities.video.sample import moving_digits, sample, tiny
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.transcode import Transcode
from maskkit.modalities.video.videomae import NO_DECAY, VideoMAE, videomae
from maskkit.modality import Modality

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
    transcode=Transcode,
    bench="maskkit.modalities.video.bench",
)
open_data = open_videos
METHODS = Methods(MODALITY)
model = METHODS.model

__all__ = [
    "Data",
    "Inputs",
    "MAEST",
    "METHODS",
    "MODALITY",
    "NO_DECAY",
    "SUFFIXES",
    "Sampling",
    "VIDEO_SUFFIXES",
    "VideoMAE",
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
