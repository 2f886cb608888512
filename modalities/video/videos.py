"""Video files and folders of frames: found, opened, and read as clips.

N videos, R repeats, C channels, T frames of a clip, H W height and width in pixels, h w after the transform.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

from maskkit.data.find import find_files
from maskkit.data.paths import Files, Paths
from maskkit.data.source import Key, epoch_order, with_repeats
from maskkit.modalities.video.decoders import (
    FRAME_RATE,
    FRAME_SUFFIXES,
    VIDEO_SUFFIXES,
    Decoder,
    Video,
    open_video,
)
from maskkit.modalities.video.sampling import Sampling
from maskkit.seeds import generator

Transform = Callable[[Tensor, torch.Generator], Tensor]
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601


@dataclass(frozen=True, kw_only=True)
class Videos:
    """Video files and folders of frames as a source of clips: sampled, decoded once, then given to ``transform``.

    ``repeats`` makes R samples of each video, which count as R samples everywhere: with ``several_clips`` from R places
    of it (MAE-ST's ``repeat_aug``), else R crops of one clip (VideoMAEv2's ``num_sample``). ``order`` keeps the R
    together, and their frames are decoded in one go. ``random`` samples at random places, else in the middle.
    ``short_side`` (pixels) scales larger videos down as they are decoded.
    """

    files: Files
    sampling: Sampling
    transform: Transform
    channels: int = 3
    random: bool = True
    repeats: int = 1
    several_clips: bool = True
    short_side: int | None = None
    decoder: Decoder = "auto"
    _held: "_Held" = field(default_factory=lambda: _Held(), repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3 for video files, got {self.channels}; keep others in arrays")
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, got {self.repeats}")

    def __len__(self) -> int:
        return len(self.files) * self.repeats

    def read(self, key: Key, rng: torch.Generator) -> Shaped[Tensor, "C T h w"]:
        """Return a clip, transformed."""
        if self.repeats > 1:
            # What the repeats share and what each has for itself come from streams of their own, so that it does not
            # matter which repeat of a video this process meets first, or whether it holds the frames already.
            seed = int(torch.randint(2**62, (), generator=rng))
            frames, rng = self._one_of(key, seed), generator(seed, key.repeat)
        else:
            frames = self._decoded(key.index, rng)
        return self.transform(_with_channels(frames, self.channels), rng).transpose(0, 1).contiguous()

    def path(self, index: int) -> str:
        """Return the file or folder of video ``index``."""
        return self.files.path(index)

    def label(self, index: int) -> str | None:
        """Return its class, where a sub-folder or a list names one."""
        return self.files.label(index)

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the keys of an epoch [n 3]: the files' own order (tar shards) or a random one, repeats together."""
        return with_repeats(epoch_order(self.files, seed, epoch), self.repeats)

    def _decoded(self, video: int, rng: torch.Generator) -> Shaped[Tensor, "T H W 3"]:
        with opened_video(self.files, video, decoder=self.decoder, short_side=self.short_side) as opened:
            return torch.from_numpy(opened.read(self.sampling(self._times(opened), rng if self.random else None)))

    def _one_of(self, key: Key, seed: int) -> Shaped[Tensor, "T H W 3"]:
        """Return the frames of one of the clips of a video, all of which are decoded at the first one asked for."""
        held, wanted = self._held, (key.index, seed)
        if held.key != wanted:
            with opened_video(self.files, key.index, decoder=self.decoder, short_side=self.short_side) as opened:
                times, rng = self._times(opened), generator(seed) if self.random else None
                clips = [self.sampling(times, rng) for _ in range(self.repeats if self.several_clips else 1)]
                numbers = np.unique(np.concatenate(clips))
                frames = torch.from_numpy(opened.read(numbers))
            held.key, held.frames = wanted, frames
            held.clips = [np.searchsorted(numbers, clip) for clip in clips]
        return held.frames[held.clips[key.repeat % len(held.clips)]]

    def _times(self, opened: Video) -> NDArray[np.float64]:
        """Return when frames begin. A stride asks for their number only, and true times may cost a whole decode."""
        return np.arange(len(opened)) / FRAME_RATE if self.sampling.stride is not None else opened.times()


class _Held:
    """The frames of the video that was decoded last, for its other clips. Not sent to workers."""

    def __init__(self) -> None:
        self.key: tuple[int, int] | None = None
        self.frames = torch.empty(0)
        self.clips: list[NDArray[np.int64]] = []

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return type(self), ()


def find_videos(where: str | Path) -> Files:
    """List the videos that ``where`` names, as ``find_files`` does, and folders of frames beside.

    A folder without video files but with pictures holds videos as folders of frames: each folder that has pictures in
    it is one. Lists may name either. The authors' ``path label`` and ``path num_frames label`` are read; the number of
    frames is not needed, since files and folders say it themselves.
    """
    path = os.path.expanduser(os.fspath(where))
    try:
        files = find_files(path, VIDEO_SUFFIXES)
    except ValueError:
        if not os.path.isdir(path):
            raise
        try:
            pictures = find_files(path, FRAME_SUFFIXES)
        except ValueError:
            pictures = None
        if pictures is None:
            raise
        return _frame_folders(pictures, path)
    return _without_frame_counts(files)


@contextmanager
def opened_video(
    files: Files, index: int, *, decoder: Decoder = "auto", short_side: int | None = None
) -> Iterator[Video]:
    """Open a video in a file, a folder of frames or a tar shard; errors name it by its path in ``files``."""
    if isinstance(files, Paths):
        with closing(open_video(files.path(index), decoder=decoder, short_side=short_side)) as video:
            yield video
        return
    with files.open(index) as file:
        with closing(open_video(file, decoder=decoder, short_side=short_side, name=files.path(index))) as video:
            yield video


def _frame_folders(pictures: Files, root: str) -> Files:
    """Return the folders of pictures as videos; labels are the first level below root, where there is a second."""
    folders = list(dict.fromkeys(os.path.dirname(pictures.path(index)) for index in range(len(pictures))))
    insides = [os.path.relpath(folder, root).split(os.sep) for folder in folders]
    labelled = all(len(inside) > 1 for inside in insides)
    names = [inside[0] for inside in insides] if labelled else []
    classes = tuple(sorted(set(names)))
    labels = np.array([classes.index(name) for name in names], dtype=np.int32) if labelled else None
    return Paths(paths=np.array([os.fsencode(folder) for folder in folders]), labels=labels, classes=classes)


def _without_frame_counts(files: Files) -> Files:
    """Read ``num_frames label`` as the label, where every label of a list is two whole numbers."""
    if not isinstance(files, Paths) or files.labels is None:
        return files
    if not all(re.fullmatch(r"\d+[\s,;]+-?\d+", name) for name in files.classes):
        return files
    last = [re.split(r"[\s,;]+", name)[-1] for name in files.classes]
    classes = tuple(sorted(set(last), key=int))
    number = np.array([classes.index(name) for name in last], dtype=np.int32)
    return replace(files, labels=np.where(files.labels < 0, -1, number[files.labels]), classes=classes)


def is_for_pillow(path: str) -> bool:
    """Return whether Pillow reads a video, so that it needs no decoder."""
    return path.lower().endswith(".gif") or os.path.isdir(path)


def _with_channels(frames: Shaped[Tensor, "T H W 3"], channels: int) -> Shaped[Tensor, "T C H W"]:
    frames = frames.permute(0, 3, 1, 2)
    if channels == 3:
        return frames
    grey = torch.einsum("tchw,c->thw", frames.float(), torch.tensor(LUMINANCE))
    return grey.round().to(torch.uint8)[:, None]
