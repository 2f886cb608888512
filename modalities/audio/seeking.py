"""Excerpts of compressed recordings: the samples that decoding from the start gives.

libsndfile seeks to the sample in what is stored sample by sample or in blocks of their own. Its other decoders depend
on what they decoded before: some cannot seek at all, others begin with wrong samples, and Vorbis may land some hundred
samples away. And soundfile seeks after each read, to where it is already, so that blocks do not join either.
"""

import math
from collections.abc import Callable
from types import ModuleType, TracebackType
from typing import BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**18  # samples that are held at once while a file is read through

# Seconds that are decoded ahead of an excerpt, by libsndfile's name of the encoding (FLAC is PCM_16 or PCM_24). MP3
# refers to at most 511 earlier bytes. Opus comes within 0.003 of full scale. Vorbis is exact in the first minute; later
# a few of a hundred excerpts begin some milliseconds off. All encodings that are not named are decoded from the start.
EXACT = ("PCM_", "FLOAT", "DOUBLE", "ULAW", "ALAW", "ALAC_", "IMA_ADPCM", "MS_ADPCM")
LEADS = {"MPEG_LAYER_I": 1, "MPEG_LAYER_II": 1, "MPEG_LAYER_III": 1, "OPUS": 10, "VORBIS": 60}


class SoundFile(Protocol):
    """An open file of soundfile, as far as it is used here."""

    frames: int
    """Samples a channel."""
    samplerate: int
    channels: int

    def tell(self) -> int:
        """Return the sample that is read next."""

    def seek(self, frames: int) -> int:
        """Go to a sample."""

    def read(self, frames: int, *, dtype: str, always_2d: bool) -> NDArray[np.float32]:
        """Return the next samples [frames channels]."""


class _Closable(SoundFile, Protocol):
    subtype: str

    def close(self) -> None:
        """Close the file."""


class Sound:
    """A file that libsndfile decodes, in the form of an open file of soundfile."""

    def __init__(self, module: ModuleType, file: bytes | BinaryIO) -> None:
        """Open a path or a file with soundfile, given as ``module``. Raises its errors."""
        # Without this, soundfile seeks after each read.
        kind = type("InOrder", (module.SoundFile,), {"seekable": lambda self: False})
        self._open: Callable[[], _Closable] = lambda: kind(file)
        self._file = self._open()
        self._rewind = None if isinstance(file, bytes) else file.seek
        self._place = 0
        self.frames, self.samplerate, self.channels = self._file.frames, self._file.samplerate, self._file.channels
        encoding = self._file.subtype
        lead = 0 if encoding.startswith(EXACT) else LEADS.get(encoding, math.inf)
        self._lead = lead * self.samplerate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the file."""
        self._file.close()

    def tell(self) -> int:
        """Return the sample that is read next."""
        return self._place

    def seek(self, frames: int) -> int:
        """Go to a sample: there at once, or to an earlier one from which the file is read through."""
        if frames < self._place and self._lead:
            self._file.close()
            if self._rewind is not None:
                self._rewind(0)
            self._file, self._place = self._open(), 0
        if not self._lead or frames - self._lead > self._place:
            self._place = self._file.seek(int(frames - self._lead))
        while self._place < frames and len(self.read(min(frames - self._place, BLOCK))):
            pass
        return self._place

    def read(self, frames: int, *, dtype: str = "float32", always_2d: bool = True) -> NDArray[np.float32]:
        """Return the next samples [frames channels]."""
        sound = self._file.read(frames, dtype=dtype, always_2d=always_2d)
        self._place += len(sound)
        return sound
