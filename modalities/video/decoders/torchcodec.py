"""Video files read by torchcodec, with the FFmpeg of the system."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskkit.files import BadSampleError
from maskkit.modalities.video.decoders.video import Pixels, Video, VideoFile, check_count, decoding_reason, shrunk

if TYPE_CHECKING:
    from torchcodec import FrameBatch

BLOCK = 32  # frames held at a time where a whole file has to be decoded


class TorchcodecVideo(Video):
    """A file read by torchcodec with the system's FFmpeg, in its exact mode.

    ``times`` are the seconds [n] at which frames begin. torchcodec gives them only with the frames.
    """

    def __init__(
        self, source: VideoFile, *, times: NDArray[np.float64], name: str, short_side: int | None = None
    ) -> None:
        from torchcodec.decoders import VideoDecoder

        self.name, self._times, self._short_side = name, times, short_side
        # An absolute path, since names such as "concat:a|b" are addresses to FFmpeg.
        content = os.path.abspath(source) if isinstance(source, str | Path) else source.read()
        try:
            self._decoder = VideoDecoder(content, seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
            count = len(self._decoder)
        except (RuntimeError, ValueError) as error:
            raise self._bad(error) from None
        check_count(name, count, times, "torchcodec")

    def __len__(self) -> int:
        return len(self._times)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds [n] at which each frame begins."""
        return self._times

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames [k height width 3]; scaled after decoding, since torchcodec scales to fixed sizes only."""
        wanted = [int(n) for n in numbers]
        try:
            pixels = self._decoder.get_frames_at(wanted).data.numpy()
        except (RuntimeError, IndexError):
            pixels = self._in_sequence(wanted)
        return pixels if self._short_side is None else np.stack([shrunk(p, self._short_side) for p in pixels])

    def _in_sequence(self, wanted: list[int]) -> Pixels:
        """Decode from the start, for files whose last group of pictures torchcodec cannot seek to (open groups)."""
        found: dict[int, Pixels] = {}
        for start, block in self._blocks(max(wanted) + 1):
            found |= {n: block.data[n - start].numpy() for n in wanted if start <= n < start + len(block.data)}
        return np.stack([found[n] for n in wanted])

    def _blocks(self, stop: int) -> Iterator[tuple[int, "FrameBatch"]]:
        """Give all frames up to ``stop``, some at a time, with the number of the first; none of them needs a seek."""
        try:
            for start in range(0, stop, BLOCK):
                yield start, self._decoder.get_frames_in_range(start, min(start + BLOCK, stop))
        except (RuntimeError, IndexError) as error:
            raise self._bad(error) from None

    def _bad(self, error: Exception) -> BadSampleError:
        return BadSampleError(self.name, f"{decoding_reason(error)}; try --decoder pyav")
