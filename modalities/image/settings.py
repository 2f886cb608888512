"""What a run on images is made of: a model, a data set, and defaults that fit both to what is at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from maskkit.modalities.image.data import Data
from maskkit.modalities.image.presets import Size, mae
from maskkit.modalities.image.survey import Survey, measure, survey

from maskkit.engine.optim import scaled_lr
from maskkit.engine.options import Options
from maskkit.engine.run import Pretrain
from maskkit.model import MaskedModel

SMALL_PICTURE = 48  # pixels; below it crops and mirror images destroy what there is to see


@dataclass(frozen=True, kw_only=True)
class MAE:
    """Settings of ``image.mae``."""

    size: Size = "base"
    image_size: tuple[int, int] = (224, 224)
    """Height and width in pixels."""
    patch_size: int | None = None
    """Pixels; 16, or 14 for huge."""
    channels: int = 3
    norm_target: bool = True
    """Predict each patch with its own mean and deviation taken out."""
    mask_ratio: float = 0.75
    mean: tuple[float, ...] | None = None
    """Of the pixels, in [0, 1], one a channel; ImageNet's for three channels."""
    std: tuple[float, ...] | None = None

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""
        return mae(
            self.size,
            image_size=self.image_size,
            patch_size=self.patch_size,
            channels=self.channels,
            norm_target=self.norm_target,
            mask_ratio=self.mask_ratio,
            mean=self.mean,
            std=self.std,
        )


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Pretrain a masked autoencoder on images.

    What is left out is chosen to fit the pictures and the machine, and the program says what it chose.
    """

    preset: Literal["auto", "mae-tiny", "mae-small", "mae-base", "mae-large", "mae-huge"] = "auto"
    image_size: int | None = None
    """Height and width in pixels that pictures are cropped to."""
    patch_size: int | None = None
    """Pixels."""
    channels: int | None = None
    """1 grey, 3 colour; any number for arrays."""
    mask_ratio: float = 0.75
    norm_target: bool = True
    """Predict each patch with its own mean and deviation taken out; --no-norm-target predicts plain pixels."""
    measure: bool = False
    """Measure mean and standard deviation of these pictures instead of assuming ImageNet's; always so for floats."""
    min_scale: float | None = None
    """Smallest share of a picture that a random crop keeps."""
    flip: bool | None = None
    """Mirror half of the pictures."""

    def settings(self, say: Callable[[str], None]) -> Pretrain[MAE, Data]:
        """Choose what was left open, and say why."""
        facts = survey(self.data, channels=self.channels)
        side = fitting_size(facts) if self.image_size is None else self.image_size
        patch = fitting_patch(side) if self.patch_size is None else self.patch_size
        cuda = torch.cuda.is_available()
        size: Size = ("base" if cuda else "tiny") if self.preset == "auto" else self.preset.removeprefix("mae-")  # type: ignore[assignment]  # Literals cannot be sliced
        channels = self.channels or facts.channels
        small = side < SMALL_PICTURE
        say(f"{facts.count} pictures, about {facts.height} x {facts.width} pixels, {channels} channels")
        if small and (self.min_scale is None or self.flip is None):
            say(f"pictures under {SMALL_PICTURE} pixels: no random crop, no flip (--min-scale, --flip)")
        model = MAE(
            size=size,
            image_size=(side, side),
            patch_size=patch,
            channels=channels,
            norm_target=self.norm_target and patch * patch * channels > 1,
            mask_ratio=self.mask_ratio,
        )
        if self.measure or facts.dtype == "float32":
            mean, std = measure(self.data, channels=channels)
            say(f"measured mean {_numbers(mean)} and deviation {_numbers(std)}")
            model = replace(model, mean=mean, std=std)
        data = Data(
            root=self.data,
            min_scale=(1.0 if small else 0.2) if self.min_scale is None else self.min_scale,
            flip=(not small) if self.flip is None else self.flip,
        )
        least = 5e-4 if size in ("tiny", "small") else 0.0
        return self.complete(
            model,
            data,
            samples=facts.count,
            batch=256 if cuda else 64,
            lr=lambda batch: max(least, scaled_lr(1.5e-4, batch)),
            what=f"mae-{size}, image {side}, patch {patch}",
            say=say,
        )


def restore(record: Mapping[str, Any]) -> Pretrain[MAE, Data]:
    """Return the settings that a run's ``config.json`` holds."""
    return Pretrain.restored(record, MAE, Data)


def fitting_size(facts: Survey) -> int:
    """Return the image size for a data set: 224 where pictures are large enough, else the next usual size below."""
    side = min(facts.height, facts.width)
    if side < SMALL_PICTURE:
        return side if side % 2 == 0 else side - 1 if side > 3 else side
    return max(size for size in (48, 64, 96, 128, 160, 192, 224) if size <= max(side, 48))


def fitting_patch(side: int) -> int:
    """Return the smallest patch that makes at most 14 tokens a side, as 16 does of 224."""
    return next(patch for patch in range(1, side + 1) if side % patch == 0 and side // patch <= 14)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values[:8])
