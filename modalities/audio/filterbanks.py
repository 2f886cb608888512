"""Log mel energies of recordings, as Kaldi computes them, with Audio-MAE's settings by default, and the way back.

Shapes: B batch, S samples at the front end's rate, T frames, M mel bands, K bins of the spectrum.

The authors (dataset.py, line 210) call ``torchaudio.compliance.kaldi.fbank`` with htk_compat=True, use_energy=False,
window_type="hanning", dither=0, frame_shift=10 and 128 bands; all else is its default: frames of 25 ms that lie wholly
within the recording, their mean taken out, pre-emphasis 0.97, power spectrum of 512 points, bands from 20 Hz to 8 kHz.
"""

import functools
import importlib.util
import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd

PREEMPHASIS = 0.97


def fbank(wave: Float[Tensor, "S"], mels: int = 128, front_end: FrontEnd = AUDIO_MAE) -> Float[Tensor, "T M"]:
    """Return log mel energies of one recording, on its own device. 10 s give 998 frames. See ``fbanks``."""
    return fbanks(wave[None], mels, front_end)[0]


def fbanks(waves: Float[Tensor, "B S"], mels: int = 128, front_end: FrontEnd = AUDIO_MAE) -> Float[Tensor, "B T M"]:
    """Return log mel energies of a batch, on its own device. Differentiable. Raises ValueError under one frame.

    The numbers are those of ``torchaudio.compliance.kaldi.fbank`` to 1e-3, where logarithms go from -16 to 10: float32
    rounds in another order. They are computed here, whether torchaudio is installed or not, so that the features of a
    recording do not depend on it.
    """
    _check_length(waves[0], front_end)
    frames = waves.float().unfold(1, front_end.window_samples, front_end.shift_samples)
    frames = frames - frames.mean(dim=2, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)  # Kaldi repeats the first sample
    window = torch.hann_window(front_end.window_samples, periodic=False, device=waves.device)
    spectrum = torch.fft.rfft((frames - PREEMPHASIS * before) * window, n=front_end.points)
    energy = (spectrum.real.square() + spectrum.imag.square()) @ mel_bands(mels, waves.device, front_end).T
    return energy.clamp(min=torch.finfo(torch.float32).eps).log()


def num_samples(frames: int, front_end: FrontEnd = AUDIO_MAE) -> int:
    """Return the fewest samples within which so many frames lie wholly.

    >>> num_samples(998) / AUDIO_MAE.sample_rate
    9.995
    """
    return front_end.window_samples + (frames - 1) * front_end.shift_samples


def mel_bands(mels: int, device: torch.device, front_end: FrontEnd = AUDIO_MAE) -> Float[Tensor, "M K"]:
    """Return Kaldi's triangular bands, evenly spaced in mel; the last bin, half the sample rate, is in none."""
    return torch.tensor(_bands(mels, front_end), device=device)


# The cache holds no tensor: one that is made while a model is exported, or in inference mode, would spoil later calls.
@functools.lru_cache(maxsize=16)
def _bands(mels: int, front_end: FrontEnd) -> NDArray[np.float32]:
    edges = np.linspace(to_mel(front_end.lowest), to_mel(front_end.end), mels + 2)
    bins = np.arange(front_end.points // 2 + 1) * front_end.sample_rate / front_end.points  # hertz
    bins = 1127 * np.log(1 + bins / 700)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    bands = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre)).clip(min=0)
    bands[:, -1] = 0  # Kaldi's banks end before the Nyquist frequency
    return bands.astype(np.float32)


def to_mel(hertz: float) -> float:
    """Return a frequency in mel. O'Shaughnessy 1987, as HTK and Kaldi have it."""
    return 1127 * math.log(1 + hertz / 700)


def band_hertz(mels: int, front_end: FrontEnd = AUDIO_MAE) -> list[float]:
    """Return the centre of every mel band in hertz."""
    low = to_mel(front_end.lowest)
    step = (to_mel(front_end.end) - low) / (mels + 1)
    return [700 * (math.exp((low + step * (band + 1)) / 1127) - 1) for band in range(mels)]


def waveform(energies: Float[Tensor, "T M"], rounds: int = 60, front_end: FrontEnd = AUDIO_MAE) -> Float[Tensor, "S"]:
    """Return sound with about these log mel energies, at the front end's rate, its loudest sample at 0.9.

    Approximate: phases are guessed by ``griffin_lim``, and energy is spread evenly within each band. Raises ValueError
    for a front end whose frames do not overlap.
    """
    if front_end.shift_samples == front_end.window_samples:
        raise ValueError("frames that do not overlap cannot become sound; choose a shift below the window")
    bands = mel_bands(energies.shape[1], energies.device, front_end)
    energy = energies.exp().masked_fill(energies.isnan(), 0.0)
    # The transpose, scaled so that each band alone would get its energy back. An inverse would give negative powers.
    power = (energy / bands.sum(dim=1).clamp(min=1e-8)) @ bands
    sound = deemphasise(griffin_lim(power.T.sqrt(), rounds, front_end=front_end))
    return 0.9 * sound / sound.abs().max().clamp(min=1e-8)


def griffin_lim(
    magnitudes: Float[Tensor, "K T"], rounds: int, momentum: float = 0.99, front_end: FrontEnd = AUDIO_MAE
) -> Float[Tensor, "S"]:
    """Return a signal whose spectrum has about these magnitudes, its phases found in ``rounds`` steps.

    Griffin and Lim 1984, with the momentum of Perraudin et al. 2013. Computed by torchaudio where that is installed,
    else here by the same steps.
    """
    window = torch.hann_window(front_end.window_samples, device=magnitudes.device)
    if importlib.util.find_spec("torchaudio") is None:
        return _griffin_lim(magnitudes, window, rounds, momentum, front_end)
    from torchaudio.functional import griffinlim

    signal: Tensor = griffinlim(
        magnitudes[None],
        window=window,
        n_fft=front_end.points,
        hop_length=front_end.shift_samples,
        win_length=front_end.window_samples,
        power=1.0,
        n_iter=rounds,
        momentum=momentum,
        length=None,
        rand_init=False,
    )
    return signal[0]


def _griffin_lim(magnitudes: Tensor, window: Tensor, rounds: int, momentum: float, front_end: FrontEnd) -> Tensor:
    lengths = front_end.points, front_end.shift_samples, front_end.window_samples

    def invert(phases: Tensor) -> Tensor:
        return torch.istft(magnitudes * phases, *lengths, window)

    phases = torch.ones_like(magnitudes, dtype=torch.complex64)
    before = torch.zeros_like(phases)
    for _ in range(rounds):
        rebuilt = torch.stft(invert(phases), *lengths, window, return_complex=True)
        phases = rebuilt - before * (momentum / (1 + momentum))
        phases = phases / (phases.abs() + 1e-16)
        before = rebuilt
    return invert(phases)


def deemphasise(sound: Float[Tensor, "S"]) -> Float[Tensor, "S"]:
    """Undo Kaldi's pre-emphasis: ``y[t] = x[t] + 0.97 y[t - 1]``."""
    from scipy.signal import lfilter  # needed only here, and slow to import

    filtered = lfilter([1.0], [1.0, -PREEMPHASIS], sound.cpu().double().numpy())
    return torch.from_numpy(filtered).to(sound)


def _check_length(wave: Tensor, front_end: FrontEnd) -> None:
    least, milliseconds = front_end.window_samples, front_end.window * 1000
    if wave.shape[-1] < least:
        raise ValueError(
            f"a recording needs at least {least} samples ({milliseconds:g} ms) for one frame, got {wave.shape[-1]}"
        )
