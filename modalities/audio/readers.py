"""Recordings from files and from arrays, one spectrogram [1 T M] at a time, and what a data set is like.

S samples at 16 kHz, T frames of 10 ms, M mel bands, N recordings.
"""

import functools
import math
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from jaxtyping import Float
from maskkit.modalities.audio.filterbanks import RATE, fbank, num_samples
from maskkit.modalities.audio.resampling import resample
from maskkit.modalities.audio.transforms import Clip
from numpy.typing import NDArray
from torch import Tensor

from maskkit.data.arrays import check_labels, label_text, load_arrays
from maskkit.data.find import find_files
from maskkit.data.mixture import split_mixture
from maskkit.data.paths import Files, FileSource
from maskkit.data.source import BadSampleError, readable

# What libsndfile decodes without being told a format. A list may name files of any suffix; their content decides.
SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".sph", ".nist", ".voc", ".sf"),
)

SILENCE = 2**-15  # half the span of one 16-bit step: nothing that rises above its mean by less was recorded
BLOCK = 2**18  # samples that are held at once while a long file is searched for sound
UNKNOWN = 2**62  # libsndfile's lengths from here upwards are those of files that do not say theirs
MISSING = 0.1  # seconds: MP3 headers only estimate the length


# One recording


def read_recording(
    file: str | BinaryIO,
    *,
    name: str | None = None,
    samples: int | None = None,
    place: float = 0.0,
    around_sound: bool = False,
) -> Float[Tensor, "S"]:
    """Read a file as one channel of float32 at 16 kHz, full scale at 1; channels are averaged.

    ``samples`` (at 16 kHz) limits what is decoded; ``place`` says where that part lies in a longer recording, 0 at the
    start, 1 at the end. A part that is silent is returned as it is, or, with ``around_sound``, the part around the
    recording's loudest sample instead. ``file`` is a path or an open binary file, which ``name`` then names in
    messages. Raises BadSampleError for a file that is missing, corrupt, cut off, empty, not finite, under 25 ms, of
    unknown length or silent throughout.
    """
    path = name or (file if isinstance(file, str) else str(getattr(file, "name", "recording")))
    if isinstance(file, str):
        _check_file(file)
    with _opened(file, path) as opened:
        total, rate = _length(opened, path), opened.samplerate
        wanted = total if samples is None else min(total, -(-samples * rate // RATE))
        wave = _part(opened, path, round(place * (total - wanted)), wanted)
        if _is_silent(wave):
            loudest = _loudest(_blocks(opened), path)
            if around_sound:
                wave = _part(opened, path, _start_around(loudest, wanted, total), wanted)
    wave = resample(wave, rate)
    _check_length(len(wave), path)
    return wave


def _check_file(path: str) -> None:
    """Say what is plain before libsndfile says it worse; and opening a pipe would wait for ever."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise BadSampleError(path, _reason(error)) from None
    if stat.S_ISDIR(status.st_mode):
        raise BadSampleError(path, "a folder, not a recording")
    if not stat.S_ISREG(status.st_mode):
        raise BadSampleError(path, "not an ordinary file")
    if status.st_size == 0:
        raise BadSampleError(path, "empty file")


def _length(opened: Any, path: str) -> int:
    """Return the number of samples that the header of an open file promises."""
    if opened.frames <= 0:
        raise BadSampleError(path, "holds no samples, only a header")
    if opened.frames >= UNKNOWN:  # FLAC that was written to a pipe
        raise BadSampleError(path, "does not say how long it is; rewrite it: ffmpeg -i IN OUT.flac")
    return int(opened.frames)


def _part(opened: Any, path: str, start: int, wanted: int) -> Float[Tensor, "S"]:
    """Decode a part of an open file, at its own rate."""
    if start != opened.tell():
        opened.seek(start)
    sound, rate = opened.read(wanted, dtype="float32", always_2d=True), opened.samplerate
    if len(sound) < wanted - MISSING * rate or len(sound) == 0:
        raise BadSampleError(path, f"truncated: {len(sound) / rate:.2f} of {wanted / rate:.2f} seconds can be decoded")
    return _finite(torch.from_numpy(sound).mean(dim=1), path)


def _blocks(opened: Any) -> Iterator[Float[Tensor, "S"]]:
    """Decode an open file from its start, block by block."""
    opened.seek(0)
    while len(sound := opened.read(BLOCK, dtype="float32", always_2d=True)):
        yield torch.from_numpy(sound).mean(dim=1)


def _finite(values: Tensor, path: str) -> Tensor:
    if not bool(values.isfinite().all()):
        raise BadSampleError(path, "holds NaN or infinite values")
    return values


def _check_length(samples: int, path: str, frames: int = 1) -> None:
    if samples < num_samples(frames):
        what = "a frame needs" if frames == 1 else "without padding, two patches in time need"
        raise BadSampleError(path, f"too short: {samples / RATE:.3f} s; {what} {num_samples(frames) / RATE:.3f} s")


def _is_silent(wave: Float[Tensor, "S"]) -> bool:
    return bool((wave - wave.mean()).abs().max() < SILENCE)


def _loudest(blocks: Iterable[Float[Tensor, "S"]], path: str) -> int:
    """Return the place of the sample farthest from the mean of all. Raises BadSampleError where all is silent.

    It is the highest or the lowest one, so that one pass does, although the mean (a microphone's offset, no sound) is
    known only at its end.
    """
    count, total, high, low = 0, 0.0, (-math.inf, 0), (math.inf, 0)
    for block in blocks:
        _finite(block, path)
        high = max(high, (block.max().item(), count + int(block.argmax())))
        low = min(low, (block.min().item(), count + int(block.argmin())))
        total += block.double().sum().item()
        count += len(block)
    distance, place = max((high[0] - total / count, high[1]), (total / count - low[0], low[1]))
    if distance < SILENCE:
        raise BadSampleError(path, "silent")
    return place


def _start_around(place: int, wanted: int, total: int) -> int:
    """Return where a part of ``wanted`` samples with ``place`` in its middle starts, or the nearest it can."""
    return min(max(place - wanted // 2, 0), total - wanted)


@contextmanager
def _opened(file: str | BinaryIO, path: str) -> Iterator[Any]:
    """Open a file with libsndfile and close it; whatever goes wrong in between is a bad sample with a short reason."""
    module = soundfile()
    try:
        # Bytes, since a name may hold what is no UTF-8.
        with module.SoundFile(os.fsencode(file) if isinstance(file, str) else file) as opened:
            yield opened
    except BadSampleError:
        raise
    except Exception as error:  # libsndfile's own errors, TypeError for formats without a header, seek's ValueError ...
        raise BadSampleError(path, _reason(error)) from None


def soundfile() -> Any:
    """Import soundfile when it is first needed, or say what installs it."""
    try:
        import soundfile as module
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing
        raise ImportError(f"audio files need soundfile ({error}); pip install 'maskkit[audio]'") from error
    return module


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]  # "no such file or directory", "permission denied"
    message = getattr(error, "error_string", None) or (str(error).splitlines() or [""])[0]
    message = message.rstrip(".") or type(error).__name__
    # What libsndfile says of an MP3 without a frame is that it does not exist; that it does was seen before.
    if isinstance(error, TypeError) or "recogni" in message or "not a regular file" in message:
        return "not audio or a format libsndfile does not know; convert it: ffmpeg -i IN OUT.flac"
    return f"cannot be decoded: {message}"


# Data sets


@dataclass(frozen=True, kw_only=True)
class Recordings(FileSource):
    """Audio files as a source of spectrograms: read by ``read_recording``, then given to ``clip``."""

    clip: Clip

    def read(self, index: int, rng: torch.Generator) -> Float[Tensor, "1 T M"]:
        """Return recording ``index``. Where a random excerpt is silent, it is the one around the loudest sample."""
        path, place, search = self.path(index), self.clip.place(rng), self.clip.excerpt == "random"
        with self.files.open(index) as file:
            wave = read_recording(file, name=path, samples=self.clip.samples, place=place, around_sound=search)
        _check_length(len(wave), path, self.clip.least)
        return self.clip(wave, rng)


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrays:
    """Recordings in one ``.npy`` or ``.npz`` file: waveforms [N S] or [N C S], or log mel energies [N T M].

    Of an ``.npz``, the recordings are ``waves``, ``audio``, ``x``, ``data``, ``arr_0``, ``spectrograms`` or
    ``fbanks``, or its only array; ``rate`` (hertz) is a number, 16000 where there is none; class labels, if any, are
    ``labels``, ``y`` or ``targets`` [N]. Whole numbers are waveforms and are divided by their type's full scale.
    Arrays of three axes whose last is the number of mel bands are energies, as ``fbank`` gives them, not normalised.
    """

    where: str
    clip: Clip
    _data: NDArray[Any] = field(init=False, repr=False)
    _labels: NDArray[Any] | None = field(init=False, repr=False)
    _rate: int = field(init=False)

    def __post_init__(self) -> None:
        data, labels, rate = load_arrays(self.where, _DATA_KEYS, also=_RATE_KEYS)
        _check_array(data, self.where, self.clip)
        object.__setattr__(self, "_data", data)
        object.__setattr__(self, "_labels", check_labels(labels, len(data), self.where))
        if rate is not None and (rate.size != 1 or rate.dtype.kind not in "iuf" or not 1 <= rate.item() < 2**31):
            raise ValueError(f"{self.where}: {rate.tolist()!r} is no sample rate; save one number in hertz, as 16000")
        object.__setattr__(self, "_rate", RATE if rate is None else int(rate.item()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a spawned worker open the file itself: pickling would send it all."""
        return functools.partial(type(self), where=self.where, clip=self.clip), ()

    def __len__(self) -> int:
        return len(self._data)

    @property
    def rate(self) -> int:
        """Samples a second."""
        return self._rate

    @property
    def holds_energies(self) -> bool:
        """Whether the array holds log mel energies instead of waveforms."""
        return _are_energies(self._data, self.clip)

    @property
    def seconds(self) -> float:
        """Length of each recording."""
        return self._data.shape[1] * 0.01 if self.holds_energies else self._data.shape[-1] / self._rate

    def read(self, index: int, rng: torch.Generator) -> Float[Tensor, "1 T M"]:
        """Return recording ``index``."""
        if not self.holds_energies:
            wave = self.wave(index, self.clip.place(rng), around_sound=self.clip.excerpt == "random")
            _check_length(len(wave), self.path(index), self.clip.least)
            return self.clip(wave, rng)
        energies = self.energies(index)
        _check_length(num_samples(len(energies)), self.path(index), self.clip.least)
        start = round(self.clip.place(rng) * max(len(energies) - self.clip.frames, 0))
        return self.clip.finish(energies[None, start:])

    def wave(self, index: int, place: float = 0.0, *, around_sound: bool = False) -> Float[Tensor, "S"]:
        """Return a part of waveform ``index`` at 16 kHz, in one channel, as ``read_recording`` does of a file."""
        stored, path = np.atleast_2d(self._data[index]), self.path(index)
        total = stored.shape[1]
        wanted = min(-(-self.clip.samples * self._rate // RATE), total)
        start = round(place * (total - wanted))
        wave = _finite(_averaged(stored[:, start : start + wanted]), path)
        if _is_silent(wave):
            start = _start_around(_loudest([_averaged(stored)], path), wanted, total)
            wave = _finite(_averaged(stored[:, start : start + wanted]), path) if around_sound else wave
        wave = resample(wave, self._rate)
        _check_length(len(wave), path)
        return wave

    def energies(self, index: int) -> Float[Tensor, "T M"]:
        """Return the log mel energies of recording ``index``, where the array holds them."""
        return _finite(torch.from_numpy(np.array(self._data[index], dtype=np.float32)), self.path(index))

    def path(self, index: int) -> str:
        """Name recording ``index``: ``words.npz[7]``."""
        return f"{self.where}[{index}]"

    def label(self, index: int) -> str | None:
        """Return its class."""
        return label_text(self._labels, index)


def open_recordings(where: str | Path, clip: Clip) -> Recordings | Arrays:
    """Open an ``.npy`` or ``.npz`` file as Arrays, and anything that ``find_files`` knows as Recordings."""
    place = os.path.expanduser(os.fspath(where))
    if place.lower().endswith((".npy", ".npz")):
        return Arrays(where=place, clip=clip)
    return Recordings(files=find_files(place, SUFFIXES), clip=clip)


# Array files

_DATA_KEYS = ("waves", "wave", "audio", "x", "data", "spectrograms", "fbanks", "arr_0")
_RATE_KEYS = ("rate", "sample_rate", "sr")


def _averaged(stored: NDArray[Any]) -> Float[Tensor, "S"]:
    """Return the mean of the channels of a stored waveform [C S], full scale at 1."""
    full = 1.0 if stored.dtype.kind == "f" else float(np.iinfo(stored.dtype).max) + 1
    return torch.from_numpy(stored.astype(np.float32) / np.float32(full)).mean(dim=0)


def _are_energies(data: NDArray[Any], clip: Clip) -> bool:
    return data.ndim == 3 and data.shape[2] == clip.mels and data.dtype.kind == "f"


def _check_array(data: NDArray[Any], where: str, clip: Clip) -> None:
    shape = "x".join(map(str, data.shape))
    # Of 64-bit whole numbers, nothing says the full scale; by their type's, 16-bit sound in them would be silent.
    if data.dtype.kind not in "if" or (data.dtype.kind == "i" and data.dtype.itemsize > 4):
        raise ValueError(f"{where}: holds {data.dtype}; save waveforms as int16 or float32")
    if data.ndim not in (2, 3) or 0 in data.shape:
        raise ValueError(f"{where}: shape {shape} is not N recordings; save [N S], [N C S] or [N T M]")
    if _are_energies(data, clip):
        if clip.gain or clip.roll:
            raise ValueError(f"{where}: holds energies, not waveforms; gain and roll do not fit, leave them out")
    elif data.dtype.kind == "f" and data.ndim == 3 and data.shape[1] > data.shape[2]:
        bands = data.shape[2]
        raise ValueError(
            f"{where}: shape {shape} looks like log mel energies with {bands} bands; give --mels {bands} (settings: "
            f"mels, now {clip.mels}), or save waveforms as [N C S]"
        )


# What a data set is like


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a look at some recordings says about all, to choose defaults by."""

    count: int  # of all recordings in the data set
    median: float  # seconds
    long: float  # seconds: nine of ten are no longer
    rates: tuple[int, ...]  # hertz, the most frequent first


def survey(where: str | Path, *, limit: int = 64, mels: int = 128) -> Survey:
    """Look at the headers of up to ``limit`` recordings, evenly spread; bad ones are passed over.

    Of a mixture, the part with the largest weight is looked at, and all are counted.
    """
    parts = split_mixture(os.fspath(where))
    if len(parts) > 1:
        seen_parts = {path: survey(path, limit=limit, mels=mels) for _, path in parts}
        return replace(seen_parts[max(parts)[1]], count=sum(each.count for each in seen_parts.values()))
    source = open_recordings(where, Clip(frames=1, mels=mels, mean=0.0, scale=1.0))
    if isinstance(source, Arrays):
        return Survey(count=len(source), median=source.seconds, long=source.seconds, rates=(source.rate,))
    files = source.files
    seen = list(readable(files.spread(limit), lambda index: _header(files, index)))
    seconds = [length for length, _ in seen]
    rates = [rate for _, rate in seen]
    return Survey(
        count=len(source),
        median=float(np.median(seconds)),
        long=float(np.quantile(seconds, 0.9)),
        rates=tuple(sorted(set(rates), key=rates.count, reverse=True)),
    )


def measure(where: str | Path, *, limit: int = 2000, mels: int = 128, seconds: float = 10.0) -> tuple[float, float]:
    """Mean and standard deviation of log mel energies over up to ``limit`` recordings, evenly spread.

    Of each, the first ``seconds`` count, or those around its loudest sample where the first are silent; padding does
    not, and bad recordings are passed over. Of a mixture, the part
    with the largest weight is measured.
    """
    where = max(split_mixture(os.fspath(where)))[1]
    clip = Clip(frames=round(seconds * 100), mels=mels, mean=0.0, scale=1.0)
    source = open_recordings(where, clip)

    def energies(index: int) -> Tensor:
        if isinstance(source, Arrays):
            wave = None if source.holds_energies else source.wave(index, around_sound=True)
        else:
            with source.files.open(index) as file:
                wave = read_recording(file, name=source.path(index), samples=clip.samples, around_sound=True)
        if wave is None:
            assert isinstance(source, Arrays)
            return source.energies(index)
        return fbank(wave - wave.mean(), mels)

    count, mean, squares = 0, 0.0, 0.0
    evenly = np.linspace(0, len(source) - 1, min(limit, len(source))).round().astype(int).tolist()
    for values in readable(evenly if isinstance(source, Arrays) else source.files.spread(limit), energies):
        # Merged as Chan, Golub and LeVeque (1979) do: a sum of squares loses all digits where the mean is large.
        double = values.double()
        shift, share = double.mean().item() - mean, values.numel() / (count + values.numel())
        squares += double.var(correction=0).item() * values.numel() + shift**2 * count * share
        mean += shift * share
        count += values.numel()
    return mean, (squares / count) ** 0.5 or 1.0


def _header(files: Files, index: int) -> tuple[float, int]:
    """Length of a recording in seconds, and its rate in hertz."""
    path = files.path(index)
    with files.open(index) as file, _opened(file, path) as opened:
        return _length(opened, path) / opened.samplerate, opened.samplerate
