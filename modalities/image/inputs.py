"""The inputs of methods on images: patches, positions, the default masker and target.

Shapes: B images, C channels, H W height and width in pixels.
"""

from dataclasses import dataclass

from maskkit.kernels.linear import Linear
from maskkit.maskers import Uniform
from maskkit.modality import InputSpec
from maskkit.positions import SinCos
from maskkit.ranges import Length, Number, Positive, check_ranges
from maskkit.targets import Contents
from maskkit.tokenizers import Patches

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGE_SIZE, PATCH_SIZE, CHANNELS = 224, 16, 3  # of most published models

Pair = Length | tuple[Length, Length]


def patches(
    patch_size: Pair,
    channels: int = 3,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    image_size: Pair | None = None,
) -> Patches:
    """Return the tokenizer of images ``[B C H W]``. Three channels default to ImageNet's statistics, others to 0.5.

    Sizes are in pixels: one number, or (height, width).
    """
    default = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    return Patches(
        size=pair(patch_size),
        channels=channels,
        mean=mean or default[0],
        std=std or default[1],
        names=("height", "width"),
        input_size=None if image_size is None else pair(image_size),
    )


def pair(size: Pair) -> tuple[int, int]:
    """Return a size as (height, width); one number stands for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def inputs(
    image_size: Pair = IMAGE_SIZE,
    patch_size: Pair = PATCH_SIZE,
    channels: int = CHANNELS,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> InputSpec:
    """Return the ``InputSpec`` of images.

    Sizes are in pixels: one number, or (height, width). ``mean`` and ``std`` normalise uint8 pixels, in [0, 1].
    """
    tokenizer = patches(patch_size, channels, mean, std, image_size)
    return InputSpec(
        tokenizer=tokenizer,
        # The first half of the channels encodes the column, as in MAE's tables (docs/official.md M2).
        positions=lambda dim: SinCos(dim=dim, axes=2, order=(1, 0)),
        embed=lambda dim: Linear(tokenizer.width, dim),
        masker=lambda ratio: Uniform(ratio=ratio),
        target=Contents,
        output=tokenizer.width,
        grid=tokenizer.grid(pair(image_size)),
    )


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Settings of ``image.inputs``. A value of None is chosen to fit the images, or is the published default."""

    image_size: Pair | None = None
    """Height and width of the crop in pixels: one number for both, or two numbers."""
    patch_size: Pair | None = None
    """Height and width of a patch in pixels: one number for both, or two numbers."""
    channels: Length | None = None
    """Number of channels: 1 for grey, 3 for colour; arrays may have any number."""
    mean: tuple[Number, ...] | None = None
    """Mean of the pixel values, scaled to [0, 1], per channel. By default ImageNet's for three channels, else 0.5."""
    std: tuple[Positive, ...] | None = None
    """Standard deviation of the pixel values, scaled to [0, 1], per channel. Same defaults as the mean."""

    def __post_init__(self) -> None:
        """Validate the sizes. Raises ValueError."""
        check_ranges(self)

    def spec(self) -> InputSpec:
        """Return the ``InputSpec`` of images."""
        return inputs(
            self.image_size or IMAGE_SIZE,
            self.patch_size or PATCH_SIZE,
            self.channels or CHANNELS,
            self.mean,
            self.std,
        )
