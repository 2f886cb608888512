"""Videos opened one way, whatever decodes them: files by PyAV, decord or torchcodec, the rest by Pillow.

One decoder a file, and here the table of them.
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
