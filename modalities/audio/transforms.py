"""Transforms of a recording: excerpt, gain, filter banks, length, normalisation.

S samples at the rate of the front end, T frames, M mel bands.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from maskkit.modalities.audio.filterbanks import fbank, fbanks, num_samples
from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd

Excerpt = Literal["start", "random"]
Padding = Literal["silence", "ignored"]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Make a normalised spectrogram ``[1 frames mels]`` of a recording. AudioMAE's dataset.py, ``_wav2fbank``.

    ``mean`` and ``scale`` normalise log mel energies; the authors' scale is *twice* the deviation (official.md A6).
    ``excerpt``: of a longer recording the authors take the start; "random" is drawn anew each time.
    ``gain`` multiplies the waveform by 0.5 + Beta(10, 10), that is by about 0.7 to 1.3.
    ``roll`` turns the waveform around in time by a random number of samples. The authors mean to, but draw the number
    from a range of one, so theirs never moves (A2): leave it False to do as they did.
    ``padding``: a shorter recording is filled up with raw 0 *before* normalisation, as by the authors, which is far
    louder than silence and becomes +0.467. "ignored" fills with NaN: a patch of nothing else is no token, and in one
    that is partly there the tokenizer writes that raw 0.
    ``least``: a recording of fewer frames is a bad sample.
    ``front_end``: sample rate, frames and range of frequencies.
    """

    frames: int
    mels: int
    mean: float
    scale: float
    excerpt: Excerpt = "start"
    gain: bool = False
    roll: bool = False
    padding: Padding = "silence"
    least: int = 1
    front_end: FrontEnd = AUDIO_MAE

    @property
    def samples(self) -> int:
        """Samples that fill all frames; what lies beyond is never read."""
        return num_samples(self.frames, self.front_end)

    def place(self, rng: torch.Generator) -> float:
        """Return where to cut a longer recording: 0 is its start, 1 the latest place."""
        return 0.0 if self.excerpt == "start" else torch.rand((), generator=rng).item()

    def __call__(self, wave: Float[Tensor, "S"], rng: torch.Generator) -> Float[Tensor, "1 T M"]:
        """Return the spectrogram of a waveform of at least one frame. Raises ValueError if it is not finite."""
        wave = wave - wave.mean()
        if self.roll:
            wave = wave.roll(int(torch.randint(len(wave), (), generator=rng)))
        if self.gain:
            wave = wave * draw_gain(rng)
        energies = fbank(wave[: self.samples], self.mels, self.front_end)
        if not bool(energies.isfinite().all()):  # NaN would stand for padding
            raise ValueError("too loud for float32: its log mel energies are not finite; full scale is 1")
        return self.finish(energies[None])

    def finish(self, energies: Float[Tensor, "B T M"]) -> Float[Tensor, "B T M"]:
        """Cut or pad log mel energies to the length, and normalise them."""
        energies = energies[:, : self.frames]
        fill = torch.nan if self.padding == "ignored" else 0.0
        energies = F.pad(energies, (0, 0, 0, self.frames - energies.shape[1]), value=fill)
        return (energies - self.mean) / self.scale

    def batch(self, waves: Float[Tensor, "B S"]) -> Float[Tensor, "B 1 T M"]:
        """Return the spectrograms of equally long waveforms on their own device; nothing is left to chance.

        The same numbers as one by one, to 1e-4 of the normalised units.
        """
        waves = waves - waves.mean(dim=1, keepdim=True)
        return self.finish(fbanks(waves[:, : self.samples], self.mels, self.front_end))[:, None]


def draw_gain(rng: torch.Generator) -> float:
    """Return 0.5 + Beta(10, 10): between 0.5 and 1.5, with mean 1 and deviation 0.11."""
    seed = int(torch.randint(2**62, (), generator=rng))
    return 0.5 + float(np.random.default_rng(seed).beta(10, 10))
