"""Random crops of pixels, resized and flipped, for images and clips.

Shapes: H W height and width in pixels, h w those of the crop; axes before them are cropped alike.
"""

import torch
from jaxtyping import Shaped
from torch import Tensor
from torchvision.transforms import v2


def check_size(size: tuple[int, int]) -> None:
    """Raise ValueError unless ``size`` is a height and a width in pixels."""
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f"size must be (height, width) in pixels, both positive, got {size}")


def check_ranges(scale: tuple[float, float], ratio: tuple[float, float]) -> None:
    """Raise ValueError unless the shares of the area and the aspect ratios of a crop are possible."""
    if not 0 < scale[0] <= scale[1] <= 1:
        raise ValueError(f"scale must be two shares of the area, 0 < least <= most <= 1, got {scale}")
    if not 0 < ratio[0] <= ratio[1]:
        raise ValueError(f"ratio must be two positive numbers, the lesser first, got {ratio}")


def random_resized_crop(
    pixels: Shaped[Tensor, "*axes H W"],
    rng: torch.Generator,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: bool,
    interpolation: v2.InterpolationMode,
    antialias: bool,
) -> Shaped[Tensor, "*axes h w"]:
    """Return torchvision's RandomResizedCrop, flipped half the time if ``flip``. One number is drawn from ``rng``.

    ``scale`` is the range of the crop's share of the area. ``ratio`` is that of its width over its height, relative to
    that of ``size``.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=rng))
    height, width = size
    relative = (ratio[0] * width / height, ratio[1] * width / height)
    crop = v2.RandomResizedCrop(
        list(size), scale=scale, ratio=relative, interpolation=interpolation, antialias=antialias
    )
    # torchvision draws from torch's global generator only, whose state is restored afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs as well
        cropped = crop(pixels)
        return v2.RandomHorizontalFlip(0.5)(cropped) if flip else cropped
