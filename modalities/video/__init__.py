"""Videos ``[B C T H W]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.video import cache, transcode
from maskkit.modalities.video.data import Data, open_videos, samples
from maskkit.modalities.video.decoders import VIDEO_SUFFIXES, find_decoder, findings, open_video
from maskkit.modalities.video.pictures import draw
from maskkit.modalities.video.presets import Size, mae_st, patches, videomae
from maskkit.modalities.video.sample import NAME, moving_digits, sample, tiny
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.settings import NO_DECAY, Command, Model, restore

SUFFIXES = VIDEO_SUFFIXES
open_data = open_videos  # the name by which the command line opens any modality's data

__all__ = [
    "NAME",
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
    "samples",
    "tiny",
    "transcode",
    "videomae",
]
