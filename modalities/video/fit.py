"""Default settings of a run for its videos and the machine."""

from collections.abc import Callable
from dataclasses import replace

import torch

from maskkit.modalities.video.data import Data
from maskkit.modalities.video.inputs import Inputs, pair
from maskkit.modalities.video.sampling import describe
from maskkit.modalities.video.survey import Survey, fitting_stride, survey
from maskkit.modality import DataSettings, Fit, MethodSettings

SMALL = 48  # pixels; smaller images are neither cropped nor flipped at random


def fit(model: MethodSettings, data: DataSettings, say: Callable[[str], None]) -> Fit:
    """Return settings with every None replaced for a model and its videos, and report the choices."""
    assert isinstance(model, Inputs) and isinstance(data, Data)
    cuda = torch.cuda.is_available()
    facts = survey(data.list or data.root, channels=model.channels, decoder=data.decoder)
    size = pair(fitting_size(facts) if model.image_size is None else model.image_size)
    most = getattr(model, "most_patches", 14)
    patch = fitting_patch(min(size), most) if model.patch_size is None else model.patch_size
    chosen: dict[str, object] = {"image_size": size, "patch_size": patch, "tubelet": model.slot}
    chosen["channels"] = model.channels or facts.channels
    if getattr(model, "size", "") is None:
        chosen["size"] = "small" if cuda else "tiny"
    clips = data
    if clips.stride is None and clips.fps is None and clips.seconds is None:
        clips = replace(clips, stride=fitting_stride(facts.frames, model.frames))
    if clips.crop == "auto":
        small = min(facts.height, facts.width) < SMALL
        clips = replace(clips, crop="centre" if small else getattr(model, "crop", "multi-scale"))
    say(
        f"{facts.count} videos of about {facts.frames} frames, {facts.rate:.3g} a second, "
        f"{facts.height} x {facts.width} pixels, {facts.channels} channels, read by {facts.decoder}"
    )
    name, size_name = model.name, chosen.get("size", getattr(model, "size", None))
    summary = (
        f"{name}{f'-{size_name}' if size_name else ''}, {describe(clips.sampling(model.frames))}, image {size[0]}, "
        f"patch {model.slot} x {pair(patch)[0]}, {clips.crop} crop"
    )
    return Fit(
        model=replace(model, **chosen),  # type: ignore[arg-type]  # fields of a settings class
        data=clips,
        samples=facts.count * clips.repeats,
        batch=64 if cuda else 8,
        summary=summary,
    )


def fitting_size(facts: Survey) -> int:
    """Return the image size for a data set: 224 where frames are large enough, else the next usual size below."""
    side = min(facts.height, facts.width)
    if side < SMALL:
        return side if side % 2 == 0 else side - 1 if side > 3 else side
    # A CPU gets through 112 x 112 in a quarter of the time.
    most = 224 if torch.cuda.is_available() else 112
    return max(size for size in (48, 64, 96, 112, 128, 160, 192, 224) if size <= max(min(side, most), 48))


def fitting_patch(side: int, most: int = 14) -> int:
    """Return the smallest patch that makes at most ``most`` tokens a side: 14, as patches of 16 make of 224."""
    return next(patch for patch in range(1, side + 1) if side % patch == 0 and side // patch <= most)
