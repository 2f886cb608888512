"""Recordings in one ``.npy``, ``.npz`` or HDF5 file.

S samples, T frames, M mel bands, N recordings.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.data.arrays import Array, ArraySource, Stored, load_arrays
from maskkit.data.limits import check_decoded
from maskkit.modalities.audio.filterbanks import num_samples
from maskkit.modalities.audio.front_end import HIGHEST_RATE, LOWEST_RATE
from maskkit.modalities.audio.reader import (
    check_length,
    finite,
    is_silent,
    loudest_place,
    resample,
    start_around,
)
from maskkit.modalities.audio.seeking import BLOCK
from maskkit.modalities.audio.transforms import Clip

_DATA_KEYS = ("waves", "wave", "audio", "x", "data", "spectrograms", "fbanks", "arr_0")
_RATE_KEYS = ("rate", "sample_rate", "sr")


@dataclass(frozen=True, kw_only=True)
class StoredRecording:
    """Make a spectrogram of one stored recording: a waveform [S] or [C S], or log mel energies [T M]."""

    clip: Clip
    rate: int
    """Samples per second of waveforms."""
    holds_energies: bool
    """Whether log mel energies are stored, as ``fbank`` gives them, instead of waveforms."""

    def __call__(self, stored: Array, path: str, rng: torch.Generator) -> Float[Tensor, "1 T M"]:
        """Return the spectrogram of a recording. Raises BadSampleError."""
        if not self.holds_energies:
            wave = self.wave(stored, path, self.clip.place(rng), around_sound=self.clip.excerpt == "random")
            check_length(len(wave), path, self.clip.least, self.clip.front_end)
            return self.clip(wave, rng)
        energies = self.energies(stored, path)
        check_length(num_samples(len(energies), self.clip.front_end), path, self.clip.least, self.clip.front_end)
        start = round(self.clip.place(rng) * max(len(energies) - self.clip.frames, 0))
        return self.clip.finish(energies[None, start:])

    def seconds(self, shape: tuple[int, ...]) -> float:
        """Return the length of a recording that is stored in this shape."""
        return shape[0] / self.clip.front_end.frames_per_second if self.holds_energies else shape[-1] / self.rate

    def wave(self, stored: Array, path: str, place: float = 0.0, *, around_sound: bool = False) -> Float[Tensor, "S"]:
        """Return a part of a waveform in one channel, at the clip's rate, as ``read_recording`` does of a file."""
        front_end = self.clip.front_end
        stored = np.atleast_2d(stored)
        total = stored.shape[1]
        wanted = min(-(-self.clip.samples * self.rate // front_end.sample_rate), total)
        start = round(place * (total - wanted))
        check_decoded(path, len(stored) * wanted * 4, f"{wanted / self.rate:.4g} seconds")
        wave = finite(_averaged(stored[:, start : start + wanted]), path)
        if is_silent(wave):
            blocks = (_averaged(stored[:, begin : begin + BLOCK]) for begin in range(0, total, BLOCK))
            start = start_around(loudest_place(blocks, path), wanted, total)
            wave = finite(_averaged(stored[:, start : start + wanted]), path) if around_sound else wave
        wave = resample(wave, self.rate, front_end.sample_rate)
        check_length(len(wave), path, front_end=front_end)
        return wave

    def energies(self, stored: Array, path: str) -> Float[Tensor, "T M"]:
        """Return the log mel energies of a recording, where the array holds them. Raises BadSampleError."""
        check_decoded(path, stored.size * 4, f"{len(stored)} frames")
        return finite(torch.from_numpy(np.array(stored, dtype=np.float32)), path)


def open_array(where: str, clip: Clip) -> ArraySource[StoredRecording]:
    """Open an ``.npy``, ``.npz`` or HDF5 file of waveforms [N S] or [N C S], or of log mel energies [N T M].

    Of several arrays, the recordings are ``waves``, ``audio``, ``x``, ``data``, ``arr_0``, ``spectrograms`` or
    ``fbanks``, or the only one; ``rate`` (hertz) is a number, the clip's where there is none; class labels, if any, are
    ``labels``, ``y`` or ``targets`` [N]. Whole numbers are waveforms and are divided by their type's full scale.
    Arrays of three axes whose last is the number of mel bands are energies, as ``fbank`` gives them, not normalised.
    """
    data, labels, rate = load_arrays(where, _DATA_KEYS, also=_RATE_KEYS)
    _check_array(data, where, clip)
    if rate is not None and (
        rate.size != 1 or rate.dtype.kind not in "iuf" or not LOWEST_RATE <= rate.item() <= HIGHEST_RATE
    ):
        raise ValueError(f"{where}: {rate.tolist()!r} is no sample rate; save one number in hertz, as 16000")
    own = clip.front_end.sample_rate if rate is None else int(rate.item())
    row = StoredRecording(clip=clip, rate=own, holds_energies=_are_energies(data, clip))
    return ArraySource(where=where, names=_DATA_KEYS, also=_RATE_KEYS, row=row, loaded=(data, labels))


def _averaged(stored: Array) -> Float[Tensor, "S"]:
    """Return the mean of the channels of a stored waveform [C S], full scale at 1."""
    full = 1.0 if stored.dtype.kind == "f" else 2.0 ** (8 * stored.dtype.itemsize - 1)
    return torch.from_numpy(stored.astype(np.float32) / np.float32(full)).mean(dim=0)


def _are_energies(data: Stored, clip: Clip) -> bool:
    return data.ndim == 3 and data.shape[2] == clip.mels and data.dtype.kind == "f"


def _check_array(data: Stored, where: str, clip: Clip) -> None:
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
