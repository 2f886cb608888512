"""Data sets of images: their settings, and sources that read and crop them.

Shapes: C channels, h w height and width of a sample in pixels.
"""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from jaxtyping import Shaped
from torch import Tensor

from maskkit.data.arrays import ArraySource
from maskkit.data.find import find_files
from maskkit.data.joined import Arrays, find_data, open_arrays
from maskkit.data.mixture import open_mixture
from maskkit.data.paths import Files, FileSource
from maskkit.data.pictures import decode, decode_whole
from maskkit.data.samples import EvaluationSamples
from maskkit.data.source import BadSampleError, Key, Source
from maskkit.data.tiff import SUFFIXES as TIFFS
from maskkit.data.tiff import Header, read_header
from maskkit.modalities.image.arrays import Layout, StoredPicture, Transform, open_array
from maskkit.modalities.image.reader import SUFFIXES, check_channels, check_finite
from maskkit.modalities.image.transforms import EvalCrop, TrainCrop
from maskkit.ranges import ShareOrAll, check_ranges
from maskkit.tokenizers import Patches

LOOKED_AT = 8  # TIFF files whose headers tell whether all files are read whole


@dataclass(frozen=True, kw_only=True)
class Pictures(FileSource):
    """A source of image files or members of tar shards.

    Each is read as by ``read_picture``, then passed to ``transform``. If ``whole``, it is read by ``decode_whole`` and
    normalised, ``(x - mean) / std`` per channel, as the model normalises uint8 pixels.
    """

    transform: Transform
    channels: int = 3
    min_side: int | None = None  # see read_picture
    whole: bool = False
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.whole:
            check_channels(self.channels)

    def read(self, key: Key, rng: torch.Generator) -> Shaped[Tensor, "C h w"]:
        """Return an image, uint8 or float32, transformed. Raises BadSampleError."""
        file, path = self.files.open(key.index), self.path(key.index)
        if not self.whole:
            return self.transform(decode(file, path, self.channels, self.min_side), rng)
        values = decode_whole(file, path, self.channels)
        if self.mean is not None and self.std is not None:
            values -= torch.tensor(self.mean)[:, None, None]
            values /= torch.tensor(self.std)[:, None, None]
        image = self.transform(values, rng)
        check_finite(image, path)
        return image


def _deep(files: Files) -> Header | None:
    """Return the header of a deep TIFF among some evenly spread files, or None. Unreadable files are passed over."""
    for index in files.spread(LOOKED_AT):
        path = files.path(index)
        if path.lower().endswith(TIFFS):
            with contextlib.suppress(BadSampleError):
                header = read_header(files.open(index), path)
                if header.deep:
                    return header
    return None


def open_pictures(
    where: str | Path,
    *,
    channels: int | None,
    transform: Transform,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: Layout | None = None,
    min_side: int | None = None,
) -> Pictures | Arrays[StoredPicture]:
    """Open files of arrays as ``find_data`` finds them, and any other path that ``find_files`` accepts as ``Pictures``.

    ``channels=None`` means 3 for files, and the own number of arrays and of deep TIFF files. Where some of the files
    are deep TIFF (more than 8 bits, floats, other channels than 1, 3 or 4), all are read whole. ``mean`` and ``std``
    are for arrays and such files, in the units of ``data.tiff.scaled``; ``layout`` is for arrays, ``min_side`` for
    other files.
    """
    found = find_data(where, lambda path: find_files(path, SUFFIXES))
    if isinstance(found, tuple):

        def open_one(path: str) -> ArraySource[StoredPicture]:
            return open_array(path, transform=transform, channels=channels, layout=layout, mean=mean, std=std)

        return open_arrays(found, open_one)
    deep = _deep(found)
    colours = channels or (deep.channels if deep else 3)
    if deep is None:
        return Pictures(files=found, transform=transform, channels=colours, min_side=min_side)
    return Pictures(
        files=found,
        transform=transform,
        channels=colours,
        whole=True,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )


@dataclass(frozen=True, kw_only=True)
class Data:
    """Path of the images, and how they are cropped."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder (searched recursively), glob, list file, array or tar shards, or a mixture: 0.7*path/a + 0.3*path/b."""
    min_scale: ShareOrAll | None = None
    """Minimum share of the area that a random crop keeps; 1 disables cropping. By default 0.2, or 1 for tiny images."""
    flip: bool | None = None
    """Flip half of the images horizontally. By default on, except for tiny images."""
    measure: bool = False
    """Measure mean and standard deviation of these images instead of using ImageNet's. Always on for float arrays."""

    def __post_init__(self) -> None:
        """Validate the settings. Raises ValueError."""
        check_ranges(self)

    def at(self, root: str) -> "Data":
        """Return a copy of the settings for another path."""
        return replace(self, root=root)

    def open(self, tokenizer: Patches, *, train: bool) -> Source:
        """Return a source of images [C h w], cropped at random for training, else at the centre."""
        scale = 0.2 if self.min_scale is None else self.min_scale
        return open_images(self.root, tokenizer, train=train, min_scale=scale, flip=self.flip is not False)


def open_images(
    where: str | Path, tokenizer: Patches, *, train: bool = False, min_scale: float = 0.2, flip: bool = True
) -> Source:
    """Open images, or a mixture of data sets, in the size and with the channels of a tokenizer."""
    if tokenizer.input_size is None:
        raise ValueError("the model does not say its input size; build it with image_size")
    height, width = tokenizer.input_size
    crop: TrainCrop | EvalCrop = EvalCrop(size=(height, width))
    if train and (flip or min_scale < 1):
        crop = TrainCrop(size=(height, width), scale=(min_scale, 1.0), flip=flip)
    elif train:
        crop = EvalCrop(size=(height, width), resize_ratio=1)  # no random crop: as large as fits
    mean, std = (values * (tokenizer.channels // len(values)) for values in (tokenizer.mean, tokenizer.std))

    def open_one(path: str) -> Source:
        return open_pictures(
            path,
            channels=tokenizer.channels,
            transform=crop,
            mean=mean,
            std=std,
            min_side=min(height, width),
        )

    return open_mixture(os.fspath(where), open_one)


samples = EvaluationSamples(Data)
"""Read samples for evaluation one by one, in order: ``samples(PATH, model, errors, **settings of Data)``."""
