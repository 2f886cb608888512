"""Sound in containers that libsndfile does not read (AAC in .m4a, .aac and .mp4), decoded whole by PyAV."""

import importlib.util
import itertools
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from maskkit.data.containers import open_container
from maskkit.data.limits import check_decoded
from maskkit.data.source import one_bad_sample
from maskkit.files import BadSampleError

if TYPE_CHECKING:
    from av import AudioStream
    from av.container import InputContainer

SUFFIXES = (".m4a", ".aac", ".mp4")
MISSING = 0.1  # seconds that a track may be shorter than it says


class Decoded:
    """The sound of a file [samples channels], in the form of an open file of soundfile."""

    def __init__(self, sound: NDArray[np.float32], rate: int) -> None:
        self.sound, self.samplerate = sound, rate
        self.frames, self.channels = sound.shape
        self._place = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Nothing is held open."""

    def tell(self) -> int:
        """Return the sample that is read next."""
        return self._place

    def seek(self, frames: int) -> int:
        """Go to a sample."""
        self._place = frames
        return frames

    def read(self, frames: int, *, dtype: str, always_2d: bool) -> NDArray[np.float32]:
        """Return the next samples [frames channels]."""
        start, self._place = self._place, min(self._place + frames, self.frames)
        return self.sound[start : self._place]


def can_decode() -> bool:
    """Return whether PyAV is installed."""
    return importlib.util.find_spec("av") is not None


def decode(file: str | BinaryIO, path: str) -> Decoded:
    """Decode the sound track of a file that FFmpeg prefers. Raises BadSampleError if it has none, or cannot be decoded.

    What an edit list hides, such as the first samples of an encoder, is left out.
    """
    import av

    with open_container(file, path) as container:
        stream = container.streams.best("audio")
        if not isinstance(stream, av.AudioStream):
            raise BadSampleError(path, "holds no sound")
        with one_bad_sample(path, lambda _: "cannot be decoded, so it is cut off or broken"):
            blocks = list(_blocks(container, stream, path))
        if not blocks:
            raise BadSampleError(path, "holds no samples, only a header")
        sound = Decoded(np.concatenate(blocks), stream.rate)
        # Other formats do not store the length of a track, and FFmpeg estimates it.
        if "mp4" in container.format.name and stream.duration is not None:
            seconds, wanted = sound.frames / sound.samplerate, float(stream.duration * (stream.time_base or 0))
            if seconds < wanted - MISSING:
                raise BadSampleError(path, f"truncated: {seconds:.2f} of {wanted:.2f} seconds can be decoded")
    return sound


def _blocks(container: "InputContainer", stream: "AudioStream", path: str) -> Iterator[NDArray[np.float32]]:
    """Decode a track as blocks [samples channels]. Raises BadSampleError if it is too large."""
    import av

    size, channels = 0, stream.codec_context.channels
    packed = av.AudioResampler(format="flt", layout=stream.layout.name, rate=stream.rate)
    for frame in itertools.chain(container.decode(stream), (None,)):  # None flushes the resampler
        for piece in packed.resample(frame):
            block = piece.to_ndarray().reshape(-1, channels)
            size += block.nbytes
            check_decoded(path, size)
            yield block
