"""Data sets of recordings: their settings, and sources of spectrograms.

T frames, M mel bands.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from maskkit.data.find import find_files
from maskkit.data.joined import Arrays, find_data, open_arrays
from maskkit.data.mixture import open_mixture
from maskkit.data.paths import FileSource
from maskkit.data.samples import EvaluationSamples
from maskkit.data.source import BadSampleError, Key, Source
from maskkit.modalities.audio.arrays import StoredRecording, open_array
from maskkit.modalities.audio.front_end import front_end_of
from maskkit.modalities.audio.reader import SUFFIXES, check_length, read_recording
from maskkit.modalities.audio.transforms import Clip, Excerpt, Padding
from maskkit.tokenizers import Patches


@dataclass(frozen=True, kw_only=True)
class Recordings(FileSource):
    """A source of spectrograms from audio files. Each is read by ``read_recording``, then passed to ``clip``."""

    clip: Clip

    def read(self, key: Key, rng: torch.Generator) -> Float[Tensor, "1 T M"]:
        """Return a spectrogram. A silent random excerpt is replaced by the one around the loudest sample."""
        path, place, search = self.path(key.index), self.clip.place(rng), self.clip.excerpt == "random"
        samples, front_end = self.clip.samples, self.clip.front_end
        with self.files.open(key.index) as file:
            wave = read_recording(
                file, name=path, samples=samples, place=place, around_sound=search, front_end=front_end
            )
        check_length(len(wave), path, self.clip.least, front_end)
        try:
            return self.clip(wave, rng)
        except ValueError as error:
            raise BadSampleError(path, str(error)) from None


def open_recordings(where: str | Path, clip: Clip) -> Recordings | Arrays[StoredRecording]:
    """Open files of arrays as ``find_data`` finds them, and other paths, as ``find_files`` does, as ``Recordings``."""
    found = find_data(where, lambda path: find_files(path, SUFFIXES))
    if isinstance(found, tuple):
        return open_arrays(found, lambda path: open_array(path, clip))
    return Recordings(files=found, clip=clip)


@dataclass(frozen=True, kw_only=True)
class Data:
    """Path of the recordings, and how spectrograms are computed from them."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder (searched recursively), glob, list file, array or tar shards, or a mixture: 0.7*path/a + 0.3*path/b."""
    excerpt: Excerpt = "random"
    """Part of a longer recording that is used: its start, as in the authors' code, or a random excerpt."""
    gain: bool = False
    """Multiply each waveform by a random gain, 0.5 + Beta(10, 10)."""
    roll: bool = False
    """Shift each waveform cyclically in time by a random amount. The authors' code intends to and does not."""
    measure: bool = False
    """Measure mean and standard deviation of these recordings instead of using AudioSet's."""
    padding: Padding = "silence"
    """Padding of short recordings: silence pads with raw 0, as the authors do; ignored leaves out the missing patches.
    With ignored, every recording of a batch uses as many patches as the shortest one, at least two in time."""

    def at(self, root: str) -> "Data":
        """Return a copy of the settings for another path."""
        return replace(self, root=root)

    def open(self, tokenizer: Patches, *, train: bool) -> Source:
        """Return a source of spectrograms [1 T M]: augmented at random for training, else always the same."""
        if not train:
            return open_audio(self.root, tokenizer)
        clip = fitting_clip(tokenizer, excerpt=self.excerpt, gain=self.gain, roll=self.roll, padding=self.padding)
        if self.padding == "ignored":
            # A mask needs two patches in time. The second one exists if its first frame does.
            clip = replace(clip, least=min(tokenizer.size[0] + 1, clip.frames))
        return open_mixture(self.root, lambda where: open_recordings(where, clip))


def open_audio(where: str | Path, tokenizer: Patches) -> Source:
    """Open recordings in the length of a tokenizer, from their start. Padding of a short recording makes no tokens.

    The features of a clip of 3 s are therefore those of 3 s, and not those of 10 s with silence.
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
    """Return the transform that makes spectrograms in the size of a tokenizer, by its front end and statistics."""
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
        front_end=front_end_of(tokenizer),
    )


samples = EvaluationSamples(Data)
"""Read samples for evaluation one by one, in order: ``samples(PATH, model, errors, **settings of Data)``."""
