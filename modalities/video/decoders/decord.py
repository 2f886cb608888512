"""Video files read by decord, frame-exact."""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from maskkit.data.source import one_bad_sample
from maskkit.files import BadSampleError
from maskkit.modalities.video.decoders.video import (
    Pixels,
    Video,
    VideoFile,
    check_clip,
    check_count,
    decoding_reason,
    scaled,
    stacked,
)

T = TypeVar("T")


class _Frame(Protocol):
    shape: tuple[int, ...]

    def asnumpy(self) -> NDArray[np.uint8]: ...


class _Reader(Protocol):
    """decord's reader, as far as it is used here."""

    def __len__(self) -> int: ...

    def next(self) -> _Frame: ...

    def seek(self, number: int) -> None: ...

    def get_key_indices(self) -> list[int]: ...


class DecordVideo(Video):
    """A file read by decord, with frame-exact access. Readers are short-lived: one that is kept holds its memory.

    ``times`` are the seconds [n] at which frames begin. Where a file stores another order, decord does not know them.
    """

    def __init__(
        self, source: VideoFile, *, times: NDArray[np.float64], name: str, short_side: int | None = None
    ) -> None:
        self.name, self._times = name, times
        # An absolute path, since names such as "concat:a|b" are addresses to FFmpeg.
        self._source = os.path.abspath(source) if isinstance(source, str | Path) else source.read()
        self._scale: dict[str, int] = {}
        self._only_keys: bool | None = None
        self._reader, self._position = self._open(), 0
        if short_side is not None:
            height, width = self._decoded(lambda: self._reader.next().shape[:2])
            if min(height, width) > short_side:
                rows, columns = scaled(height, width, short_side)
                self._scale = {"height": rows, "width": columns}
            self._reader = self._open()

    def __len__(self) -> int:
        return len(self._times)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds [n] at which each frame begins."""
        return self._times

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames [k height width 3], going through the file once."""
        found: dict[int, Pixels] = {}
        wanted = sorted({int(n) for n in numbers})
        for number in wanted:
            self._go_to(number)
            found[number] = _three_channels(self._decoded(lambda: self._reader.next().asnumpy()))
            check_clip(found[number], numbers, self.name)
            self._position = number + 1
        return stacked(found, numbers, self.name)

    def _go_to(self, number: int) -> None:
        """Move to a frame: by seeking in files made of keyframes only, in others frame by frame from the start.

        decord numbers what follows a seek from the keyframe's place in the file. Where frames are stored in another
        order than they are shown (B-frames) it is off by a few frames after a seek, and with a variable frame rate
        after ``skip_frames``; its ``get_batch`` does both. Frames that are passed over are therefore decoded, and a
        clip late in a long video is slow to reach; ``maskkit transcode video`` makes files that can be sought in.
        """
        if self._only_keys is None:
            self._only_keys = len(self._reader.get_key_indices()) == len(self._reader)
        if self._only_keys and number != self._position:
            self._decoded(lambda: self._reader.seek(number))
            return
        if number < self._position:
            self._reader, self._position = self._open(), 0
        for _ in range(number - self._position):
            self._decoded(self._reader.next)

    def _open(self) -> "_Reader":
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        source = self._source if isinstance(self._source, str) else io.BytesIO(self._source)
        # One thread: the loader's workers are what runs in parallel.
        reader = self._decoded(lambda: decord.VideoReader(source, num_threads=1, **self._scale))
        check_count(self.name, len(reader), self._times, "decord")
        return reader

    def _decoded(self, work: Callable[[], T]) -> T:
        """Call decord. Any error becomes a BadSampleError with a short reason."""
        with one_bad_sample(self.name, lambda error: f"{decoding_reason(error)}; try --decoder pyav"):
            try:
                return work()
            except StopIteration:
                raise BadSampleError(self.name, "ends before its last frame, so it is cut off or broken") from None


def _three_channels(pixels: UInt8[NDArray[np.uint8], "H W channels"]) -> Pixels:
    """Mend decord's frames less than 64 pixels wide: it takes rows padded to 64 bytes for ones of more channels."""
    height, width, channels = pixels.shape
    if channels == 3:
        return pixels
    return pixels.reshape(height, width * channels)[:, : 3 * width].reshape(height, width, 3)
