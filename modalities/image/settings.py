"""What a run on images is made of: a model, a data set, and defaults that fit both to what is at hand."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from maskkit.modalities.image.presets import Size, mae
from maskkit.modalities.image.readers import Survey, measure, open_pictures, survey
from maskkit.modalities.image.transforms import EvalCrop, TrainCrop

from maskkit.engine.data import Source
from maskkit.engine.mixture import open_mixture
from maskkit.engine.optim import AdamW
from maskkit.engine.run import Pretrain, best_precision
from maskkit.model import MaskedModel
from maskkit.tokenizers import Patches

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
class Data:
    """Where the pictures are and how they are cropped."""

    root: str
    """Folder, glob, list file, tar shards, .npy or .npz, or several: 0.7*path/a + 0.3*path/b."""
    min_scale: float = 0.2
    """Smallest share of the picture that a random crop keeps; 1 resizes without cropping."""
    flip: bool = True
    """Mirror half of the pictures."""

    def open(self, tokenizer: Patches, *, train: bool) -> Source:
        """Return the pictures, cropped at random or in the middle."""
        return open_images(self.root, tokenizer, train=train, min_scale=self.min_scale, flip=self.flip)


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


@dataclass(frozen=True, kw_only=True)
class Command:
    """Pretrain a masked autoencoder on images.

    What is left out is chosen to fit the pictures and the machine, and the program says what it chose.
    """

    data: str
    """Folder (searched through), glob, list file, tar shards, .npy or .npz, or several: 0.7*path/a + 0.3*path/b."""
    out: Path
    """Folder for the run."""
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
    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the data, where --steps is not given."""
    batch: int | None = None
    """Samples per step."""
    accumulate: int = 1
    """Parts that a batch is worked through in, where it does not fit into memory."""
    lr: float | None = None
    """Peak learning rate."""
    min_scale: float | None = None
    """Smallest share of a picture that a random crop keeps."""
    flip: bool | None = None
    """Mirror half of the pictures."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    clip: float | None = None
    """Largest norm of the gradient."""
    ema: float | None = None
    """Decay of a moving average of the weights, kept beside the model."""
    compile: bool = False
    """Compile the blocks with torch.compile."""
    workers: int = 2
    """Processes that read pictures."""
    seed: int = 0
    device: str = "auto"
    log_every: int = 10
    save_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Checkpoints kept."""
    picture_every: int = 1000
    """Steps between picture grids."""
    max_bad: float = 0.05
    """Share of pictures that may be broken before the run stops."""
    resume: bool = False
    """Continue the run in --out, with the settings it was started with; --steps may move its end."""

    def settings(self, say: Callable[[str], None]) -> Pretrain[MAE, Data]:
        """Choose what was left open, and say why."""
        facts = survey(self.data, channels=self.channels)
        side = fitting_size(facts) if self.image_size is None else self.image_size
        patch = fitting_patch(side) if self.patch_size is None else self.patch_size
        cuda = torch.cuda.is_available()
        size: Size = ("base" if cuda else "tiny") if self.preset == "auto" else self.preset.removeprefix("mae-")  # type: ignore[assignment]  # Literals cannot be sliced
        channels = self.channels or facts.channels
        batch = min(facts.count, 256 if cuda else 64) if self.batch is None else self.batch
        steps = self.steps
        if steps is None and self.epochs is None:
            steps = max(500, min(100 * facts.count // max(batch, 1), 20_000))
        lr = self.lr if self.lr is not None else max(5e-4 if size in ("tiny", "small") else 0.0, 1.5e-4 * batch / 256)
        small = side < SMALL_PICTURE
        precision = best_precision() if self.precision == "auto" else self.precision
        say(f"{facts.count} pictures, about {facts.height} x {facts.width} pixels, {channels} channels")
        say(
            f"chosen: mae-{size}, image {side}, patch {patch}, batch {batch}, "
            + (f"{steps} steps" if steps is not None else f"{self.epochs:g} epochs")
            + f", peak lr {lr:.2g}, {precision}"
        )
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
        return Pretrain(
            model=model,
            data=data,
            out=self.out,
            batch=batch,
            accumulate=self.accumulate,
            steps=steps,
            epochs=100 if self.epochs is None else self.epochs,
            warmup_epochs=0.05 * (100 if self.epochs is None else self.epochs),
            optim=AdamW(lr=lr),
            clip=self.clip,
            ema=self.ema,
            precision=precision,
            compile=self.compile,
            seed=self.seed,
            workers=self.workers,
            device=self.device,
            log_every=self.log_every,
            save_every=self.save_every,
            keep=self.keep,
            picture_every=self.picture_every,
            max_bad=self.max_bad,
        )


def restore(record: dict[str, object]) -> Pretrain[MAE, Data]:
    """Return the settings that a run's ``config.json`` holds."""
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
    parts = {"model": MAE, "data": Data, "optim": AdamW}
    for name, kind in parts.items():
        inner = values[name]
        assert isinstance(inner, dict)
        values[name] = kind(**{key: tuple(v) if isinstance(v, list) else v for key, v in inner.items()})
    return Pretrain(**{**values, "out": Path(str(values["out"]))})  # type: ignore[arg-type]


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
