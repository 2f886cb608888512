"""Data sets of videos: their settings, and how they are opened.

C channels, T frames of a clip, H W height and width in pixels.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maskkit.data.mixture import open_mixture, split_mixture
from maskkit.data.samples import EvaluationSamples
from maskkit.data.source import Source
from maskkit.modalities.video.clips import open_clips
from maskkit.modalities.video.decoders import Decoder
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.survey import fitting_stride, survey
from maskkit.modalities.video.transforms import CentreCrop, MultiScaleCrop, ResizedCrop
from maskkit.ranges import Length, Positive, Range, ShareOrAll, check_ranges
from maskkit.tokenizers import Patches


@dataclass(frozen=True, kw_only=True)
class Data:
    """Path of the videos, which frames make a clip, and how clips are cropped."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])] = ""
    """Folder (searched recursively), glob, list file, array or tar shards, or a mixture: 0.7*path/a + 0.3*path/b."""
    list: str | None = None
    """List file of videos, instead of --data. Each line is "path label" or "path num_frames label", or csv."""
    stride: Length | None = None
    """Take every N-th frame. By default 4, as for Kinetics; Something-Something uses 2."""
    fps: Positive | None = None
    """Sample N frames per second, instead of --stride."""
    seconds: Positive | None = None
    """Spread the frames evenly over this duration in seconds, instead of --stride."""
    crop: Literal["auto", "multi-scale", "resized", "centre"] = "auto"
    """VideoMAE's crop (multi-scale), MAE-ST's (resized), or a centre crop. auto is the method's, or centre for tiny
    videos."""
    min_scale: ShareOrAll = 0.5
    """Minimum share of the area that a resized crop keeps."""
    flip: bool | None = None
    """Flip half of the clips horizontally. Only resized crops support it; for them it is on by default."""
    repeats: Annotated[int, Range(least=1, most=1024)] = 1
    """Number of samples taken from each decoded video. Each counts as a sample of the epoch."""
    several_clips: bool = True
    """Take repeats from several positions of the video. Otherwise they are crops of one clip."""
    decoder: Decoder = "auto"
    """Decoder of video files. auto is the first of pyav, decord and torchcodec that is installed."""

    def __post_init__(self) -> None:
        """Validate the settings. Raises ValueError."""
        check_ranges(self)

    def at(self, root: str) -> "Data":
        """Return a copy of the settings for another path, without repeats."""
        return replace(self, root=root, list=None, repeats=1)

    def sampling(self, frames: int) -> Sampling:
        """Return the rule by which frames are sampled."""
        stride = 4 if self.stride is None and self.fps is None and self.seconds is None else self.stride
        return Sampling(frames=frames, stride=stride, fps=self.fps, seconds=self.seconds)

    def open(self, tokenizer: Patches, *, train: bool) -> Source:
        """Return a source of clips [C T h w]: random positions and crops for training, else central ones."""
        where = self.list or self.root
        if not where:
            raise ValueError("say where the videos are: --data PATH, or a list file")
        if self.flip and self.crop != "resized":
            raise ValueError(f"a {self.crop} crop does not mirror; choose --crop resized or leave --flip out")
        size = clip_size(tokenizer)[1:]
        crop: MultiScaleCrop | ResizedCrop | CentreCrop = CentreCrop(size=size)
        if train and self.crop in ("auto", "multi-scale"):
            crop = MultiScaleCrop(size=size)
        elif train and self.crop == "resized":
            crop = ResizedCrop(size=size, scale=(self.min_scale, 1.0), flip=self.flip is not False)
        return _open(where, tokenizer, crop, self.sampling(clip_size(tokenizer)[0]), train, self)


def open_videos(
    where: str | Path, tokenizer: Patches, *, train: bool = False, data: Data | None = None, decoder: Decoder = "auto"
) -> Source:
    """Open videos in the length, the size and with the channels of a tokenizer.

    Without ``data``, a clip is taken from the middle of its video with a stride of at most 4. Raises ValueError.
    """
    if data is None:
        facts = survey(where, decoder=decoder)
        data = Data(stride=fitting_stride(facts.frames, clip_size(tokenizer)[0]), decoder=decoder, crop="centre")
    return Data(**{**vars(data), "root": str(where), "list": None}).open(tokenizer, train=train)


def _open(
    where: str,
    tokenizer: Patches,
    crop: MultiScaleCrop | ResizedCrop | CentreCrop,
    sampling: Sampling,
    train: bool,
    data: Data,
) -> Source:
    mean, std = (values * (tokenizer.channels // len(values)) for values in (tokenizer.mean, tokenizer.std))
    if data.repeats > 1 and len(split_mixture(where)) > 1:
        raise ValueError("clips of a mixture cannot be repeated; set --repeats 1, or train on one data set")

    def open_one(path: str) -> Source:
        return open_clips(
            path,
            sampling=sampling,
            transform=crop,
            channels=tokenizer.channels,
            random=train,
            repeats=data.repeats if train else 1,
            several_clips=data.several_clips,
            short_side=crop.short_side,
            decoder=data.decoder,
            mean=mean,
            std=std,
        )

    return open_mixture(where, open_one)


def clip_size(tokenizer: Patches) -> tuple[int, int, int]:
    """Return the frames, height and width of a model's input. Raises ValueError if the tokenizer has no input size."""
    if tokenizer.input_size is None:
        raise ValueError("the model does not say its input size; build it with frames and image_size")
    frames, height, width = tokenizer.input_size
    return frames, height, width


samples = EvaluationSamples(Data)
"""Read samples for evaluation one by one, in order: ``samples(PATH, model, errors, **settings of Data)``."""
