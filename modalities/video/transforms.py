"""Crops of clips, equal for all frames: random crops for training and fixed crops for evaluation.

T frames, C channels, H W height and width as read, h w those of the crop.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from maskkit.data.crop import check_ranges, check_size, random_resized_crop

Clip = Shaped[Tensor, "T C H W"]


@dataclass(frozen=True, kw_only=True)
class MultiScaleCrop:
    """VideoMAE's GroupMultiScaleCrop (transforms.py): a crop from a set of thirteen places, resized to ``size``.

    Height and width are each one of ``scales`` times the shorter side, at most ``max_distort`` steps apart; lengths
    within 3 pixels of ``size`` become it where it fits. Bilinear, no flip (datasets.py). Pillow resizes there and
    torchvision here, which differ by at most one of 255 levels.
    """

    size: tuple[int, int]
    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    max_distort: int = 1

    def __post_init__(self) -> None:
        check_size(self.size)
        if not self.scales or not all(0 < scale <= 1 for scale in self.scales):
            raise ValueError(f"scales must lie in (0, 1], got {self.scales}")

    @property
    def short_side(self) -> int:
        """Pixels of the shorter side from which no crop needs to be enlarged."""
        return math.ceil(max(self.size) / min(self.scales))

    def __call__(self, clip: Clip, rng: torch.Generator) -> Shaped[Tensor, "T C h w"]:
        """Crop; two numbers are drawn from ``rng``, for the lengths and for the place."""
        rows, columns = clip.shape[-2:]
        height, width = _choice(self.lengths(rows, columns), rng)
        top, left = _choice(self.places(rows - height, columns - width), rng)
        clip = clip[..., top : top + height, left : left + width]
        return v2f.resize(clip, list(self.size), interpolation=v2.InterpolationMode.BILINEAR, antialias=True)

    def lengths(self, rows: int, columns: int) -> list[tuple[int, int]]:
        """Return the heights and widths that a crop may have."""
        whole = [max(int(min(rows, columns) * scale), 1) for scale in self.scales]
        # The authors' lengths become ``size`` beyond the frame's edge, too, where Pillow's crop pads with black.
        heights, widths = (
            [side if abs(n - side) < 3 and side <= most else n for n in whole]
            for side, most in zip(self.size, (rows, columns), strict=True)
        )
        steps = range(len(whole))
        return [(heights[i], widths[j]) for i in steps for j in steps if abs(i - j) <= self.max_distort]

    @staticmethod
    def places(down: int, right: int) -> list[tuple[int, int]]:
        """Return the (top, left) corners of a crop that can be moved so far: corners, centre, edges, quarters."""
        row, column = down // 4, right // 4
        corners = [(0, 0), (0, 4), (4, 0), (4, 4), (2, 2)]
        edges = [(2, 0), (2, 4), (4, 2), (0, 2)]
        quarters = [(1, 1), (1, 3), (3, 1), (3, 3)]
        return [(row * i, column * j) for i, j in corners + edges + quarters]


@dataclass(frozen=True, kw_only=True)
class ResizedCrop:
    """A random part of the frame, resized to ``size``, mirrored half the time. MAE-ST (arXiv:2205.09113), appendix A.

    ``scale`` is the share of the area that is kept, ``ratio`` the crop's width over its height relative to that of
    ``size``. Bilinear without antialiasing, as its ``random_resized_crop`` (util/decoder/transform.py); which resizes
    normalised floats, while here pixels are rounded to 255 levels before they are normalised.
    """

    size: tuple[int, int]
    scale: tuple[float, float] = (0.5, 1.0)
    ratio: tuple[float, float] = (0.75, 1.3333)
    flip: bool = True

    def __post_init__(self) -> None:
        check_size(self.size)
        check_ranges(self.scale, self.ratio)

    @property
    def short_side(self) -> int:
        """Pixels of the shorter side from which a square crop of the least area need not be enlarged."""
        return math.ceil(max(self.size) / math.sqrt(self.scale[0]))

    def __call__(self, clip: Clip, rng: torch.Generator) -> Shaped[Tensor, "T C h w"]:
        """Crop; what comes out depends on the clip and on ``rng``, from which one number is drawn."""
        return random_resized_crop(
            clip,
            rng,
            size=self.size,
            scale=self.scale,
            ratio=self.ratio,
            flip=self.flip,
            interpolation=v2.InterpolationMode.BILINEAR,
            antialias=False,
        )


@dataclass(frozen=True, kw_only=True)
class CentreCrop:
    """The middle of the frame: resized until ``size`` just fits inside, then cut to it, as both codes evaluate.

    A clip that already has ``size`` passes untouched.
    """

    size: tuple[int, int]

    def __post_init__(self) -> None:
        check_size(self.size)

    @property
    def short_side(self) -> int:
        """Pixels of the shorter side from which nothing needs to be enlarged."""
        return max(self.size)

    def __call__(self, clip: Clip, rng: torch.Generator) -> Shaped[Tensor, "T C h w"]:
        """Resize and crop; ``rng`` is not used."""
        rows, columns = clip.shape[-2:]
        height, width = self.size
        if (rows, columns) == self.size:
            return clip
        share = max(height / rows, width / columns)
        resized = [max(height, round(rows * share)), max(width, round(columns * share))]
        clip = v2f.resize(clip, resized, interpolation=v2.InterpolationMode.BILINEAR, antialias=True)
        cropped: Tensor = v2f.center_crop(clip, list(self.size))
        return cropped


def _choice(options: list[tuple[int, int]], rng: torch.Generator) -> tuple[int, int]:
    return options[int(torch.randint(len(options), (), generator=rng))]
