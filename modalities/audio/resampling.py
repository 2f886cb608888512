"""Recordings of any rate at the rate of a front end.

The filter is the default of torchaudio's ``resample``: a sinc that ends at its sixth zero under a Hann window, its
cutoff at 0.99 of the lower Nyquist frequency. It is applied by scipy, whatever else is installed, so that the features
of a recording do not depend on the machine. tests/modalities/audio/test_resampling.py compares it with torchaudio's.
"""

import functools
import math

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from maskkit.modalities.audio.front_end import AUDIO_MAE

ZEROS = 6  # of the sinc on either side
ROLLOFF = 0.99
STEP = 25  # hertz


def resample(wave: Float[Tensor, "S"], rate: int, wanted: int = AUDIO_MAE.sample_rate) -> Float[Tensor, "S"]:
    """Return a waveform at the rate ``wanted``, as it is if that is its own. The authors assume 16 kHz.

    Rates that are no multiples of 25 Hz are rounded to one, 0.2 % off at most from 8 kHz upwards: the filter's length
    is about 12 times the higher rate divided by the greatest common divisor of the two.
    """
    near, target = (max(round(each / STEP), 1) * STEP for each in (rate, wanted))
    if near == target:
        return wave
    from scipy.signal import upfirdn  # takes a third of a second, which recordings at the wanted rate need not wait for

    common = math.gcd(near, target)
    down, up = near // common, target // common
    taps, delay = _filter(up, down)
    spread = upfirdn(taps, wave.numpy().astype(np.float32, copy=False), up, down)
    length = -(-len(wave) * up // down)
    return torch.from_numpy(np.ascontiguousarray(spread[delay : delay + length]))


@functools.lru_cache(maxsize=16)
def _filter(up: int, down: int) -> tuple[NDArray[np.float32], int]:
    """Return the taps at ``up`` times the first rate, and the delay that they cause, in samples of the second rate."""
    cutoff = min(up, down) * ROLLOFF
    delay = math.ceil(ZEROS * up / cutoff)
    time = np.arange(-delay * down, delay * down + 1) / (up * down) * cutoff  # in zeros of the sinc
    window = np.where(np.abs(time) < ZEROS, np.cos(time * np.pi / ZEROS / 2) ** 2, 0)
    return (np.sinc(time) * window * cutoff / down).astype(np.float32), delay
