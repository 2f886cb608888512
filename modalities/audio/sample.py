"""A built-in sample and a small model for it, for tests and examples."""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.modalities.audio.audiomae import audiomae
from maskkit.modalities.audio.filterbanks import num_samples
from maskkit.modalities.audio.front_end import AUDIO_MAE
from maskkit.modalities.audio.inputs import AUDIOSET_MEAN, AUDIOSET_STD
from maskkit.modalities.audio.transforms import Clip
from maskkit.model import MaskedModel
from maskkit.seeds import generator

FRAMES, MELS = 96, 64  # six by four patches of 16
RATE = AUDIO_MAE.sample_rate


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


def speak(word: str, file: Path, *, accent: str, voice: str) -> Path:
    """Write a WAV of a word, at a pitch of its own that the word and the file's name decide; returns the file.

    espeak-ng says it, where it is installed, in one of its accents and voices ("en-gb", "f2"). Otherwise a word is a
    path of two resonances and a voice, named by a letter and a number, a pitch; an accent then changes the pitch alone.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    pitch = generator(*f"{word}{file.name}".encode()).initial_seed() % 50 + 25
    if shutil.which("espeak-ng"):
        subprocess.run(["espeak-ng", "-v", f"{accent}+{voice}", "-p", str(pitch), "-w", file, word], check=True)
        return file

    import soundfile

    time = np.arange(9600) / RATE
    start, end = np.random.default_rng(list(word.encode())).uniform((300, 900), (900, 3000), (2, 2))
    partials = np.arange(1, 40)[:, None] * (60 + pitch + 12 * int(voice[1:]) + 60 * (voice[0] == "f"))
    loud = [np.exp(-(((partials - (a + (b - a) * time / 0.6)) / 150) ** 2)) for a, b in zip(start, end, strict=True)]
    sound = (sum(loud) * np.sin(2 * np.pi * partials * time)).sum(0) * np.hanning(len(time))
    soundfile.write(file, 0.3 * sound.clip(-3, 3), RATE)
    return file


def tiny() -> MaskedModel:
    """Return a model small enough to train on the sample in a test."""
    return audiomae("tiny", frames=FRAMES, mels=MELS)
