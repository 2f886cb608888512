"""Random crops for training and fixed crops for evaluation, for images with any number of channels.

Shapes: C channels, H W height and width of the image in pixels, h w those of the crop.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from maskkit.data.crop import check_ranges, check_size, random_resized_crop


@dataclass(frozen=True, kw_only=True)
class TrainCrop:
    """A random crop, resized to ``size`` and flipped half the time. MAE (arXiv:2111.06377), appendix A.1.

    ``scale`` is the range of the share of the area that is kept, ``ratio`` that of the crop's width over its height
    relative to that of ``size``: (3/4, 4/3) allows a crop for a 1 x 4 image to be 3 to 5.3 times as wide as high. It
    equals main_pretrain.py's RandomResizedCrop(bicubic) and flip, on tensors instead of Pillow images. ``scale=(1, 1),
    ratio=(1, 1), flip=False`` leaves an image of the right size unchanged. Raises ValueError for other ranges.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: bool = True

    def __post_init__(self) -> None:
        check_size(self.size)
        check_ranges(self.scale, self.ratio)

    def __call__(self, picture: Shaped[Tensor, "C H W"], rng: torch.Generator) -> Shaped[Tensor, "C h w"]:
        """Return the crop. One number is drawn from ``rng``."""
        return random_resized_crop(
            picture,
            rng,
            size=self.size,
            scale=self.scale,
            ratio=self.ratio,
            flip=self.flip,
            interpolation=v2.InterpolationMode.BICUBIC,
            antialias=True,
        )


@dataclass(frozen=True, kw_only=True)
class EvalCrop:
    """The centre crop: the image is resized until ``size`` times ``resize_ratio`` just fits inside, and then cropped.

    For squares this is MAE's evaluation (util/datasets.py): shorter side to 256, centre 224. MAE's code does not crop
    above 224 (``resize_ratio=1`` does the same); here one rule holds for all sizes. An image that already has ``size``
    is not changed, because 8 x 8 digits would be blurred; a smaller one is enlarged.
    """

    size: tuple[int, int]
    resize_ratio: float = 256 / 224

    def __post_init__(self) -> None:
        check_size(self.size)
        if self.resize_ratio < 1:
            raise ValueError(f"resize_ratio must be at least 1, got {self.resize_ratio}; the crop would not fit")

    def __call__(self, picture: Shaped[Tensor, "C H W"], rng: torch.Generator) -> Shaped[Tensor, "C h w"]:
        """Resize and crop; ``rng`` is not used."""
        if tuple(picture.shape[-2:]) == self.size:
            return picture
        picture = self._without_far_ends(picture)
        rows, columns = picture.shape[-2:]
        least_rows, least_columns = (round(side * self.resize_ratio) for side in self.size)
        if least_rows * columns >= least_columns * rows:  # rounded down as torchvision's Resize(int) rounds
            resized = [least_rows, max(least_columns, least_rows * columns // rows)]
        else:
            resized = [max(least_rows, least_columns * rows // columns), least_columns]
        picture = v2f.resize(picture, resized, interpolation=v2.InterpolationMode.BICUBIC, antialias=True)
        cropped: Tensor = v2f.center_crop(picture, list(self.size))
        return cropped

    def _without_far_ends(self, picture: Tensor) -> Tensor:
        """Crop a very long image to its centre first: a 1 x 10000 strip would otherwise be resized to gigabytes."""
        rows, columns = picture.shape[-2:]
        most = 8 * max(self.size) / min(self.size)
        kept = [min(rows, round(columns * most)), min(columns, round(rows * most))]
        return picture if kept == [rows, columns] else v2f.center_crop(picture, kept)


def train_transform(size: tuple[int, int], *, scale: tuple[float, float] = (0.2, 1.0), flip: bool = True) -> TrainCrop:
    """Return Return MAE's augmentation for pretraining: a random crop of at least a fifth of the area, and a flip."""
    return TrainCrop(size=size, scale=scale, flip=flip)


def eval_transform(size: tuple[int, int], *, resize_ratio: float = 256 / 224) -> EvalCrop:
    """Return MAE's transform for evaluation: the centre crop."""
    return EvalCrop(size=size, resize_ratio=resize_ratio)
