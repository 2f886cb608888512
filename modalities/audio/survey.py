"""Statistics of some recordings of a data set: lengths, rates, mean and standard deviation of energies.

T frames, M mel bands.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor

from maskkit.data.joined import Arrays
from maskkit.data.source import readable
from maskkit.data.survey import look, look_at_parts, measure_parts
from maskkit.modalities.audio.arrays import StoredRecording
from maskkit.modalities.audio.data import Recordings, open_recordings
from maskkit.modalities.audio.filterbanks import fbank
from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd
from maskkit.modalities.audio.reader import read_header, read_recording
from maskkit.modalities.audio.transforms import Clip


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Properties of a data set, estimated from some recordings, for default settings."""

    count: int  # of all recordings in the data set
    median: float  # seconds
    long: float  # seconds: nine of ten are no longer
    rates: tuple[int, ...]  # hertz, the most frequent first


def survey(where: str | Path, *, limit: int = 64, mels: int = 128, front_end: FrontEnd = AUDIO_MAE) -> Survey:
    """Return properties of up to ``limit`` evenly spread recordings, from their headers. Unreadable ones are skipped.

    In a mixture, the part with the largest weight is read, and the samples of all parts are counted.
    """
    heaviest, seen = look_at_parts(where, lambda path: _survey(path, limit, mels, front_end))
    return replace(heaviest, count=sum(each.count for each in seen))


def _survey(where: str, limit: int, mels: int, front_end: FrontEnd) -> Survey:
    source = open_recordings(where, Clip(frames=1, mels=mels, mean=0.0, scale=1.0, front_end=front_end))
    if not isinstance(source, Recordings):
        seconds = source.row.seconds(source.shape)
        return Survey(count=len(source), median=seconds, long=seconds, rates=(source.row.rate,))

    def header(index: int) -> tuple[float, int]:
        with source.files.open(index) as file:
            return read_header(file, source.path(index))

    seen = look(source, limit, header)
    lengths, rates = [length for length, _ in seen], [rate for _, rate in seen]
    return Survey(
        count=len(source),
        median=float(np.median(lengths)),
        long=float(np.quantile(lengths, 0.9)),
        rates=tuple(sorted(set(rates), key=rates.count, reverse=True)),
    )


def measure(
    where: str | Path,
    *,
    limit: int = 2000,
    mels: int = 128,
    seconds: float = 10.0,
    front_end: FrontEnd = AUDIO_MAE,
) -> tuple[float, float]:
    """Return mean and standard deviation of log mel energies over up to ``limit`` recordings, evenly spread.

    Of each recording, the first ``seconds`` count, or those around its loudest sample where the first are silent;
    padding does not, and unreadable recordings are skipped. Of a mixture each part counts by its weight.
    """
    frames = round(seconds * front_end.frames_per_second)
    clip = Clip(frames=frames, mels=mels, mean=0.0, scale=1.0, front_end=front_end)

    def energies(path: str) -> Iterator[Tensor]:
        source = open_recordings(path, clip)
        for values in readable(source.spread(limit), lambda index: _energies(source, index, clip)):
            yield values.reshape(1, -1)

    (mean,), (std,) = measure_parts(os.fspath(where), 1, energies)
    return mean, std


def _energies(source: Recordings | Arrays[StoredRecording], index: int, clip: Clip) -> Float[Tensor, "T M"]:
    """Return the log mel energies of a recording, not normalised. Raises BadSampleError."""
    path = source.path(index)
    if isinstance(source, Recordings):
        with source.files.open(index) as file:
            wave = read_recording(file, name=path, samples=clip.samples, around_sound=True, front_end=clip.front_end)
    elif source.row.holds_energies:
        return source.row.energies(source.stored(index), path)
    else:
        wave = source.row.wave(source.stored(index), path, around_sound=True)
    return fbank(wave - wave.mean(), clip.mels, clip.front_end)
