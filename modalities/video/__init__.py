"""Videos ``[B C T H W]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.video import cache
from maskkit.modalities.video.decoders import VIDEO_SUFFIXES, find_decoder, findings, open_video
from maskkit.modalities.video.drawing import draw
from maskkit.modalities.video.presets import Size, mae_st, patches, videomae
from maskkit.modalities.video.sample import moving_digits, sample, tiny
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.settings import NO_DECAY, Command, Data, Model, open_videos, restore

from maskkit.modality import Modality

SUFFIXES = VIDEO_SUFFIXES
MODALITY = Modality(
    name="video",
    sample=sample,
    tiny=tiny,
    suffixes=VIDEO_SUFFIXES,
    data=Data,
    open=open_videos,
    draw=draw,
    command=Command,
    restore=restore,
    findings=findings,
    transcode=cache.main,
    bench="maskkit.modalities.video.bench",
)
open_data = open_videos

__all__ = [
    "MODALITY",
    "NO_DECAY",
    "SUFFIXES",
    "Command",
    "Data",
    "Model",
    "Sampling",
    "Size",
    "cache",
    "draw",
    "find_decoder",
    "findings",
    "mae_st",
    "moving_digits",
    "open_data",
    "open_video",
    "open_videos",
    "patches",
    "restore",
    "sample",
    "tiny",
    "videomae",
]
