"""Default settings of a run for its images and the machine."""

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from maskkit.modalities.image.data import Data
from maskkit.modalities.image.inputs import Inputs, pair
from maskkit.modalities.image.survey import Survey, measure, survey
from maskkit.modality import DataSettings, Fit, MethodSettings

SMALL = 48  # pixels; smaller images are neither cropped nor flipped at random


def fit(model: MethodSettings, data: DataSettings, say: Callable[[str], None]) -> Fit:
    """Return settings with every None replaced for a model and its images, and report the choices."""
    assert isinstance(model, Inputs) and isinstance(data, Data)
    cuda = torch.cuda.is_available()
    facts = survey(data.root, channels=model.channels)
    size = pair(fitting_size(facts) if model.image_size is None else model.image_size)
    patch = fitting_patch(min(size)) if model.patch_size is None else model.patch_size
    channels = model.channels or facts.channels
    say(f"{facts.count} images, about {facts.height} x {facts.width} pixels, {channels} channels")
    small = min(size) < SMALL
    if small and (data.min_scale is None or data.flip is None):
        say(f"images under {SMALL} pixels: no random crop, no flip (--min-scale, --flip)")
    chosen: dict[str, object] = {"image_size": size, "patch_size": patch, "channels": channels}
    if getattr(model, "size", "") is None:
        chosen["size"] = "base" if cuda else "tiny"
    if getattr(model, "norm_target", False) and math.prod(pair(patch)) * channels == 1:
        chosen["norm_target"] = False  # one number has no deviation
    if model.mean is None and (data.measure or facts.dtype == "float32"):
        mean, std = measure(data.root, channels=channels)
        say(f"measured mean {_numbers(mean)} and standard deviation {_numbers(std)}")
        chosen |= {"mean": mean, "std": std}
    crops = replace(
        data,
        min_scale=(1.0 if small else 0.2) if data.min_scale is None else data.min_scale,
        flip=(not small) if data.flip is None else data.flip,
    )
    model = replace(model, **chosen)  # type: ignore[arg-type]  # fields of a settings class
    name, size_name = model.name, getattr(model, "size", None)
    summary = f"{name}{f'-{size_name}' if size_name else ''}, image {_by(size)}, patch {_by(pair(patch))}"
    return Fit(model=model, data=crops, samples=facts.count, batch=256 if cuda else 64, summary=summary)


def fitting_size(facts: Survey) -> int:
    """Return the image size for a data set in pixels: 224, or the next common size below for smaller images."""
    side = min(facts.height, facts.width)
    if side < SMALL:
        return side if side % 2 == 0 else side - 1 if side > 3 else side
    return max(size for size in (48, 64, 96, 128, 160, 192, 224) if size <= max(side, 48))


def fitting_patch(side: int) -> int:
    """Return the smallest patch in pixels that gives at most 14 tokens per side, as 16 does for 224."""
    return next(patch for patch in range(1, side + 1) if side % patch == 0 and side // patch <= 14)


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3f}" for value in values[:8])


def _by(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]} x {size[1]}"
