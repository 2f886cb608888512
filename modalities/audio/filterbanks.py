"""Log mel energies of recordings, as Kaldi computes them with Audio-MAE's settings, and the way back to sound.

Shapes: B batch, S samples at 16 kHz, T frames of 10 ms, M mel bands, K bins of the spectrum.

The authors (dataset.py, line 210) call ``torchaudio.compliance.kaldi.fbank`` with htk_compat=True, use_energy=False,
window_type="hanning", dither=0, frame_shift=10 and 128 bands; all else is its default: frames of 25 ms that lie wholly
within the recording, their mean taken out, pre-emphasis 0.97, power spectrum of 512 points, bands from 20 Hz to 8 kHz.
"""

import importlib
import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.cached import cached

RATE = 16_000  # samples a second
FRAME, SHIFT, POINTS = 400, 160, 512  # samples: 25 ms, 10 ms, and the next power of two
LOWEST, HIGHEST = 20.0, RATE / 2  # hertz
PREEMPHASIS = 0.97
SECONDS_PER_FRAME = SHIFT / RATE


def fbank(wave: Float[Tensor, "S"], mels: int = 128) -> Float[Tensor, "T M"]:
    """Return log mel energies of one recording, by torchaudio. 10 s give 998 frames. Needs ``maskkit[audio]``."""
    _check_length(wave)
    kaldi = torchaudio().compliance.kaldi
    return kaldi.fbank(
        wave[None],
        htk_compat=True,
        sample_frequency=RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=10,
    )


def fbanks(waves: Float[Tensor, "B S"], mels: int = 128) -> Float[Tensor, "B T M"]:
    """Return the same numbers for a batch, on its own device, without torchaudio. Differentiable.

    Equal to ``fbank`` to 1e-3, of energies whose logarithms go from -16 to 10: float32 rounds in another order.
    """
    _check_length(waves[0])
    frames = waves.float().unfold(1, FRAME, SHIFT)
    frames = frames - frames.mean(dim=2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)  # Kaldi repeats the first sample
    window = torch.hann_window(FRAME, periodic=False, device=waves.device)
    spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * window, n=POINTS)
    energy = (spectrum.real.square() + spectrum.imag.square()) @ mel_bands(mels, waves.device).T
    return energy.clamp(min=torch.finfo(torch.float32).eps).log()


def num_samples(frames: int) -> int:
    """Return the fewest samples within which so many frames lie wholly.

    >>> num_samples(998) / RATE
    9.995
    """
    return FRAME + (frames - 1) * SHIFT


@cached
def mel_bands(mels: int, device: torch.device) -> Float[Tensor, "M K"]:
    """Return Kaldi's triangular bands, evenly spaced in mel between 20 Hz and 8 kHz; the last bin is in none."""
    edges = torch.linspace(to_mel(LOWEST), to_mel(HIGHEST), mels + 2, dtype=torch.float64)
    bins = torch.arange(POINTS // 2 + 1, dtype=torch.float64) * RATE / POINTS
    place = 1127 * (1 + bins / 700).log()
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bands = torch.minimum((place - low) / (centre - low), (high - place) / (high - centre)).clamp(min=0)
    bands[:, -1] = 0  # Kaldi's banks end before the Nyquist frequency
    return bands.float().to(device)


def to_mel(hertz: float) -> float:
    """Return a frequency in mel. O'Shaughnessy 1987, as HTK and Kaldi have it."""
    return 1127 * math.log(1 + hertz / 700)


def band_hertz(mels: int) -> list[float]:
    """Return the centre of every mel band in hertz."""
    step = (to_mel(HIGHEST) - to_mel(LOWEST)) / (mels + 1)
    return [700 * (math.exp((to_mel(LOWEST) + step * (band + 1)) / 1127) - 1) for band in range(mels)]


def waveform(energies: Float[Tensor, "T M"], rounds: int = 60) -> Float[Tensor, "S"]:
    """Return sound with about these log mel energies, at 16 kHz, its loudest sample at 0.9. Needs ``maskkit[audio]``.

    Approximate: phases are guessed by Griffin and Lim's iteration (1984), energy is spread evenly within each band.
    """
    audio = torchaudio()
    bands = mel_bands(energies.shape[1], energies.device)
    energy = energies.exp().masked_fill(energies.isnan(), 0.0)
    # The transpose, scaled so that every band gets its energy back were it alone; never negative, unlike an inverse.
    power = (energy / bands.sum(dim=1).clamp(min=1e-8)) @ bands
    guess = audio.functional.griffinlim(
        power.T[None],
        window=torch.hann_window(FRAME, device=energies.device),
        n_fft=POINTS,
        hop_length=SHIFT,
        win_length=FRAME,
        power=2.0,
        n_iter=rounds,
        momentum=0.99,
        length=None,
        rand_init=False,
    )
    sound = audio.functional.deemphasis(guess, PREEMPHASIS)[0]
    return 0.9 * sound / sound.abs().max().clamp(min=1e-8)


def _check_length(wave: Tensor) -> None:
    if wave.shape[-1] < FRAME:
        raise ValueError(f"a recording needs at least {FRAME} samples (25 ms) for one frame, got {wave.shape[-1]}")


def torchaudio() -> Any:
    """Import torchaudio when it is first needed, or say what installs it."""
    try:
        importlib.import_module("torchaudio.compliance.kaldi")
        return importlib.import_module("torchaudio")
    except ImportError as error:
        raise ImportError(f"audio files need torchaudio ({error}); pip install 'maskkit[audio]'") from error
