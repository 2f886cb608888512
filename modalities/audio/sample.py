"""A built-in sample and a model that fits it, for tests, ``doctor`` and first steps."""

import math

import torch
from jaxtyping import Float
from maskkit.modalities.audio.filterbanks import RATE, num_samples
from maskkit.modalities.audio.presets import AUDIOSET_MEAN, AUDIOSET_STD, audiomae
from maskkit.modalities.audio.transforms import Clip
from torch import Tensor

from maskkit.engine.data import generator
from maskkit.model import MaskedModel

NAME = "audio"
FRAMES, MELS = 96, 64  # six by four patches of 16


def sample(count: int = 16) -> Float[Tensor, "B 1 96 64"]:
    """Return normalised spectrograms of ``count`` synthesised tones of a second each; needs no audio library."""
    waves = torch.stack([tone(number) for number in range(count)])
    return Clip(frames=FRAMES, mels=MELS, mean=AUDIOSET_MEAN, scale=2 * AUDIOSET_STD).batch(waves)


def tone(number: int, frames: int = FRAMES) -> Float[Tensor, "S"]:
    """Return a tone with overtones that glides and swells, and a little noise; each number has its own."""
    rng = generator(number)
    time = torch.arange(num_samples(frames)) / RATE
    pitch, glide, pulse = torch.rand(3, generator=rng).tolist()
    phase = 2 * math.pi * (100 + 300 * pitch) * (time + (glide - 0.5) * time**2 / 2)
    voice = sum((phase * overtone).sin() / overtone for overtone in range(1, 9))
    swell = (math.pi * (1 + 3 * pulse) * time).sin().square()
    return 0.1 * voice * swell + 1e-3 * torch.randn(len(time), generator=rng)


def tiny() -> MaskedModel:
    """Return a model small enough to train on the sample in a test."""
    return audiomae("tiny", frames=FRAMES, mels=MELS)
