"""Sound in containers that libsndfile does not read (AAC in .m4a, .aac and .mp4), decoded whole by PyAV."""

import importlib.util
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError

SUFFIXES = (".m4a", ".aac", ".mp4")


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

    def seekable(self) -> bool:
        """Return True."""
        return True

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
    """Decode the first sound track of a file. Raises BadSampleError if it has none or is too large."""
    import av

    blocks: list[NDArray[np.float32]] = []
    size = 0
    with av.open(file) as container:
        if not container.streams.audio:
            raise BadSampleError(path, "holds no sound")
        stream = container.streams.audio[0]
        rate, channels = stream.rate, stream.codec_context.channels
        packed = av.AudioResampler(format="flt", layout=stream.layout.name, rate=rate)
        for frame in container.decode(stream):
            for block in packed.resample(frame):
                blocks.append(block.to_ndarray().reshape(-1, channels))
                size += blocks[-1].nbytes
                check_decoded(path, size)
        blocks += [block.to_ndarray().reshape(-1, channels) for block in packed.resample(None)]
    if not blocks:
        raise BadSampleError(path, "holds no samples, only a header")
    return Decoded(np.concatenate(blocks), rate)
