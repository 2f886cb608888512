"""Where recordings come from, and how clips are cut from them."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from maskkit.modalities.audio.readers import open_recordings
from maskkit.modalities.audio.transforms import Clip, Excerpt, Padding

from maskkit.data.mixture import open_mixture
from maskkit.data.source import Source
from maskkit.tokenizers import Patches


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the recordings are and what becomes of them."""

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
    """Fill up short recordings with raw 0, as the authors do, or ignore patches that lie wholly past the end.
    Ignored: the shortest recording of a batch, of two patches in time at least, says how many of each are used."""

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
    """Open recordings in the length that a tokenizer takes, from their start; what a short one lacks is no token.

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
