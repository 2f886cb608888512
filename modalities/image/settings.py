"""Where images come from, and how they are cropped."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from maskkit.modalities.image.readers import open_pictures
from maskkit.modalities.image.transforms import EvalCrop, TrainCrop

from maskkit.data.mixture import open_mixture
from maskkit.data.source import Source
from maskkit.tokenizers import Patches


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the pictures are and how they are cropped."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder (searched through), glob, list file, array or tar shards, or several: 0.7*path/a + 0.3*path/b."""
    min_scale: float | None = None
    """Smallest share of an image that a random crop keeps; 1 resizes without cropping. 0.2, or 1 for tiny images."""
    flip: bool | None = None
    """Mirror half of the images. By default all but tiny ones."""
    measure: bool = False
    """Measure mean and deviation of these images instead of assuming ImageNet's; always so for floats."""

    def at(self, root: str) -> "Data":
        """Return the same settings for other files."""
        return replace(self, root=root)

    def open(self, tokenizer: Patches, *, train: bool) -> Source:
        """Return the images, cropped at random or in the middle."""
        scale = 0.2 if self.min_scale is None else self.min_scale
        return open_images(
            self.root,
            tokenizer,
            train=train,
            min_scale=scale,
            flip=self.flip is not False,
        )


def open_images(
    where: str | Path, tokenizer: Patches, *, train: bool = False, min_scale: float = 0.2, flip: bool = True
) -> Source:
    """Open pictures, or a mixture of several places, in the size and with the channels that a tokenizer takes."""
    if tokenizer.input_size is None:
        raise ValueError("the model does not say its input size; build it with image_size")
    height, width = tokenizer.input_size
    crop: TrainCrop | EvalCrop = EvalCrop(size=(height, width))
    if train and (flip or min_scale < 1):
        crop = TrainCrop(size=(height, width), scale=(min_scale, 1.0), flip=flip)
    elif train:
        crop = EvalCrop(size=(height, width), resize_ratio=1)  # nothing is left to chance: as much as fits
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
