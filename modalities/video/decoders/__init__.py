"""Decoders of videos behind one interface: files by PyAV, decord or torchcodec, all else by Pillow.

There is one decoder per file, and the table of decoders.
"""

from maskkit.modalities.video.decoders.frames import FRAME_SUFFIXES
from maskkit.modalities.video.decoders.table import (
    VIDEO_SUFFIXES,
    Decoder,
    find_decoder,
    findings,
    open_video,
)
from maskkit.modalities.video.decoders.video import FRAME_RATE, Video, scaled

__all__ = [
    "FRAME_RATE",
    "FRAME_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Decoder",
    "Video",
    "find_decoder",
    "findings",
    "open_video",
    "scaled",
]
