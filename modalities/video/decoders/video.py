"""What all decoders of videos share: the protocol of an open video, sizes, and reasons of errors in short.

n frames, H W height and width in pixels as a player shows them: rotation is applied.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError

VideoFile = str | Path | BinaryIO
Pixels = UInt8[NDArray[np.uint8], "n H W 3"]
Picture = UInt8[NDArray[np.uint8], "H W 3"]

FRAME_RATE = 25.0  # frames per second of a folder of frames, which does not say


class Video(Protocol):
    """An open video; its length is the number of its frames."""

    def __len__(self) -> int: ...

    def times(self) -> NDArray[np.float64]:
        """Return the seconds [n] at which each frame begins, ascending. Some decoders read the whole file for it."""

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode the frames [k height width 3] with these numbers, in their order; a number may occur twice."""

    def close(self) -> None:
        """Let go of the file, where one is held open."""
        return


def scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return a size of the same shape whose shorter side is ``short_side``."""
    if height <= width:
        return short_side, round(width * short_side / height)
    return round(height * short_side / width), short_side


def shrunk(pixels: Picture, short_side: int | None) -> Picture:
    """Return a picture [H W 3] scaled down to a shorter side, where it is larger."""
    height, width = pixels.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return pixels
    rows, columns = scaled(height, width, short_side)
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))


def stacked(found: Mapping[int, Picture], numbers: Sequence[int] | NDArray[np.int64], name: str) -> Pixels:
    """Return the frames [k H W 3] with some numbers. Raises BadSampleError if their sizes differ."""
    sizes = sorted({pixels.shape[:2] for pixels in found.values()})
    if len(sizes) > 1:
        (height, width), (other_height, other_width) = sizes[0], sizes[-1]
        sizes_text = f"{width} x {height} and {other_width} x {other_height}"
        raise BadSampleError(name, f"frames of different sizes: {sizes_text} pixels; cut it where they change")
    return np.stack([found[int(n)] for n in numbers])


def check_count(name: str, count: int, times: NDArray[np.float64], decoder: str) -> None:
    """Raise BadSampleError unless a decoder counts the frames shown at ``times`` [n]. Edit lists hide some."""
    if count != len(times):
        counts = f"counts {count} frames where {len(times)} are shown"
        raise BadSampleError(name, f"cannot be decoded by {decoder}, which {counts}; use --decoder pyav")


def check_clip(pixels: Picture, numbers: Sequence[int] | NDArray[np.int64], name: str) -> None:
    """Raise BadSampleError if as many frames [H W 3] as there are numbers [k] are more than a sample may take."""
    check_decoded(name, pixels.nbytes * len(numbers), f"{len(numbers)} frames of {pixels.shape[1]} x {pixels.shape[0]}")


def decoding_reason(error: Exception) -> str:
    """Return in one line why a decoder could not read a video."""
    message = str(error)
    if "cannot find video stream" in message:
        return "holds no video that decord can decode: only sound, or a newer codec such as AV1"
    if message.startswith("Error reading") or "Invalid data found" in message or "End of file" in message:
        return "not a video, or cut off before its index"
    line = (message.strip().splitlines() or ["no reason given"])[0]
    line = re.sub(
        r"^((\[[^\]]*\] )*|\w+, )\S*:\d+[:,] ", "", line
    )  # decord's clock, torchcodec's function, source line
    return f"cannot be decoded: {line[:160].rstrip('.')}"
