"""Data sets of recordings: their settings, and sources that make spectrograms of them.

T frames of 10 ms, M mel bands.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from maskkit.modalities.audio.arrays import StoredRecording, open_array
from maskkit.modalities.audio.reader import SUFFIXES, check_length, read_recording
from maskkit.modalities.audio.transforms import Clip, Excerpt, Padding
from torch import Tensor

from maskkit.data.arrays import ArraySource, is_array_file
from maskkit.data.find import find_files
from maskkit.data.mixture import open_mixture
from maskkit.data.paths import FileSource
from maskkit.data.samples import EvaluationSamples
from maskkit.data.source import Key, Source
from maskkit.tokenizers import Patches


@dataclass(frozen=True, kw_only=True)
class Recordings(FileSource):
    """Audio files as a source of spectrograms: read by ``read_recording``, then given to ``clip``."""

    clip: Clip

    def read(self, key: Key, rng: torch.Generator) -> Float[Tensor, "1 T M"]:
        """Return a recording. Where a random excerpt is silent, it is the one around the loudest sample."""
        path, place, search = self.path(key.index), self.clip.place(rng), self.clip.excerpt == "random"
        with self.files.open(key.index) as file:
            wave = read_recording(file, name=path, samples=self.clip.samples, place=place, around_sound=search)
        check_length(len(wave), path, self.clip.least)
        return self.clip(wave, rng)


def open_recordings(where: str | Path, clip: Clip) -> Recordings | ArraySource[StoredRecording]:
    """Open an ``.npy`` or ``.npz`` file as an array, and anything that ``find_files`` knows as Recordings."""
    path = os.path.expanduser(os.fspath(where))
    if is_array_file(path):
        return open_array(path, clip)
    return Recordings(files=find_files(path, SUFFIXES), clip=clip)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the recordings are and how spectrograms are made of them."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder (searched through), glob, list file, array or tar shards, or several: 0.7*path/a + 0.3*path/b."""
    excerpt: Excerpt = "random"
    """Part of a longer recording: the start, as the authors take, or a random one each time."""
    gain: bool = False
    """Make recordings louder or softer at random, by 0.5 + Beta(10, 10)."""
    roll: bool = False
    """Turn recordings around in time by a random length; the authors' code means to and does not."""
    measure: bool = False
    """Measure mean and deviation of these recordings instead of assuming AudioSet's."""
    padding: Padding = "silence"
    """silence fills up short recordings with raw 0, as the authors do; ignored leaves out patches past the end.
    With ignored, every recording of a batch uses as many patches as the shortest one, at least two in time."""

    def at(self, root: str) -> "Data":
        """Return the same settings for other files."""
        return replace(self, root=root)

    def open(self, tokenizer: Patches, *, train: bool) -> Source:
        """Return the recordings: with random choices for training, else the same each time."""
        if not train:
            return open_audio(self.root, tokenizer)
        clip = fitting_clip(tokenizer, excerpt=self.excerpt, gain=self.gain, roll=self.roll, padding=self.padding)
        if self.padding == "ignored":
            # One patch in time is what a mask can hide none of. A second one begins with its first frame.
            clip = replace(clip, least=min(tokenizer.size[0] + 1, clip.frames))
        return open_mixture(self.root, lambda where: open_recordings(where, clip))


def open_audio(where: str | Path, tokenizer: Patches) -> Source:
    """Open recordings in the length that a tokenizer takes, from their start; padding of a short one is no token.

    An encoder therefore gives a clip of 3 s the features that it has alone, not those of 10 s with silence.
    """
    clip = fitting_clip(tokenizer, padding="ignored")
    return open_mixture(os.fspath(where), lambda part: open_recordings(part, clip))


def fitting_clip(
    tokenizer: Patches,
    *,
    excerpt: Excerpt = "start",
    gain: bool = False,
    roll: bool = False,
    padding: Padding = "silence",
) -> Clip:
    """Return what makes spectrograms in the size and with the statistics of a tokenizer."""
    if tokenizer.input_size is None:
        raise ValueError("the model does not say its input size; build it with frames and mels")
    frames, mels = tokenizer.input_size
    return Clip(
        frames=frames,
        mels=mels,
        mean=tokenizer.mean[0],
        scale=tokenizer.std[0],
        excerpt=excerpt,
        gain=gain,
        roll=roll,
        padding=padding,
    )


samples = EvaluationSamples(Data)
"""Read what evaluation reads, one by one, in order: ``samples(PATH, model, errors, **settings of Data)``."""
