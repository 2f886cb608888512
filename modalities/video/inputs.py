"""The inputs of methods on videos: tubelets, positions, the default masker and target.

Shapes: B videos, C channels, T frames, H W height and width in pixels.
"""

from dataclasses import dataclass
from typing import Literal

from maskkit.kernels.linear import Linear
from maskkit.maskers import FrameMasker, Masker, TubeMasker, Uniform
from maskkit.modality import InputSpec
from maskkit.positions import FlatSinCos
from maskkit.ranges import Length, Number, Positive, check_ranges
from maskkit.targets import Contents
from maskkit.tokenizers import Patches

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES, IMAGE_SIZE, PATCH_SIZE, TUBELET, CHANNELS = 16, 224, 16, 2, 3  # of most published models

Pair = Length | tuple[Length, Length]
Hide = Literal["preset", "tube", "uniform", "frame"]

MASKERS: dict[str, type[TubeMasker | Uniform | FrameMasker]] = {
    "tube": TubeMasker,
    "uniform": Uniform,
    "frame": FrameMasker,
}


def patches(
    patch_size: Pair = 16,
    tubelet: int = 2,
    channels: int = 3,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    frames: int | None = None,
    image_size: Pair | None = None,
) -> Patches:
    """Return the tokenizer of videos ``[B C T H W]``: tubelets of ``tubelet`` frames by a patch, in the order t, h, w.

    Three channels default to ImageNet's statistics, others to 0.5.
    """
    default = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    known = frames is not None and image_size is not None
    return Patches(
        size=(tubelet, *pair(patch_size)),
        channels=channels,
        mean=mean or default[0],
        std=std or default[1],
        names=("frames", "height", "width"),
        input_size=(frames, *pair(image_size)) if known else None,  # type: ignore[arg-type]  # both are known here
    )


def pair(size: Pair) -> tuple[int, int]:
    """Return a size as (height, width); one number stands for both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def inputs(
    frames: int = FRAMES,
    image_size: Pair = IMAGE_SIZE,
    patch_size: Pair = PATCH_SIZE,
    tubelet: int = TUBELET,
    channels: int = CHANNELS,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> InputSpec:
    """Return the ``InputSpec`` of videos.

    Sizes are in pixels: one number, or (height, width). ``tubelet`` is the number of frames in a token. ``mean`` and
    ``std`` normalise uint8 pixels, in [0, 1].
    """
    tokenizer = patches(patch_size, tubelet, channels, mean, std, frames, image_size)
    return InputSpec(
        tokenizer=tokenizer,
        positions=lambda dim: FlatSinCos(dim=dim),
        embed=lambda dim: Linear(tokenizer.width, dim),
        masker=lambda ratio: TubeMasker(ratio=ratio),
        target=Contents,
        output=tokenizer.width,
        prefix_tokens=0,  # as in VideoMAE
        grid=tokenizer.grid((frames, *pair(image_size))),
    )


def masker(hide: Hide, ratio: float) -> Masker | None:
    """Return a masker of tubes, single tokens or whole time steps; None stands for the method's own masker."""
    return None if hide == "preset" else MASKERS[hide](ratio=ratio)


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Settings of ``video.inputs``. A value of None is chosen to fit the videos, or is the published default."""

    frames: Length = FRAMES
    """Number of frames in a clip."""
    image_size: Pair | None = None
    """Height and width of the crop in pixels: one number for both, or two numbers."""
    patch_size: Pair | None = None
    """Height and width of a patch in pixels: one number for both, or two numbers."""
    tubelet: Length | None = None
    """Number of frames in a token. By default 2, or 1 for an odd number of frames."""
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
        """Return the ``InputSpec`` of videos."""
        return inputs(
            self.frames,
            self.image_size or IMAGE_SIZE,
            self.patch_size or PATCH_SIZE,
            self.slot,
            self.channels or CHANNELS,
            self.mean,
            self.std,
        )

    @property
    def slot(self) -> int:
        """Number of frames in a token: ``tubelet``, or the default for the number of frames."""
        return self.tubelet or (TUBELET if self.frames % TUBELET == 0 else 1)
