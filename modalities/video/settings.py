"""What a run on videos is made of: a model, a data set, and defaults that fit both to what is at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from maskkit.modalities.video.data import Data
from maskkit.modalities.video.decoders import Decoder
from maskkit.modalities.video.presets import Size, mae_st, videomae
from maskkit.modalities.video.sampling import describe
from maskkit.modalities.video.survey import Survey, fitting_stride, survey

from maskkit.engine.optim import AdamW, scaled_lr
from maskkit.engine.options import Options
from maskkit.engine.run import Pretrain
from maskkit.maskers import FrameMasker, TubeMasker, Uniform
from maskkit.model import MaskedModel

SMALL_FRAME = 48  # pixels; below it crops and mirror images destroy what there is to see

MASKERS = {"tube": TubeMasker, "uniform": Uniform, "frame": FrameMasker}

NO_DECAY = ("prefix", "mask_token")  # VideoMAE decays neither of them (modeling_pretrain.py, no_weight_decay)


@dataclass(frozen=True, kw_only=True)
class Model:
    """Settings of ``video.videomae`` and ``video.mae_st``."""

    method: Literal["videomae", "mae-st"] = "videomae"
    size: Size = "base"
    frames: int = 16
    image_size: tuple[int, int] = (224, 224)
    """Height and width in pixels."""
    patch_size: int | None = None
    """Pixels; 16, or 14 for a huge MAE-ST."""
    tubelet: int = 2
    """Frames in a token."""
    channels: int = 3
    norm_target: bool = True
    """Predict each tubelet with its own mean and deviation taken out."""
    pred_t_dim: int | None = None
    """Frames predicted, of MAE-ST; half of them by default."""
    mask: Literal["preset", "tube", "uniform", "frame"] = "preset"
    """What is hidden; the method's own by default, tubes for VideoMAE and single tokens for MAE-ST."""
    mask_ratio: float = 0.9
    mean: tuple[float, ...] | None = None
    """Of the pixels, in [0, 1], one a channel."""
    std: tuple[float, ...] | None = None

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""
        parts: dict[str, Any] = {
            "frames": self.frames,
            "image_size": self.image_size,
            "tubelet": self.tubelet,
            "channels": self.channels,
            "norm_target": self.norm_target,
            "mean": self.mean,
            "std": self.std,
            "mask_ratio": self.mask_ratio,
        }
        if self.mask != "preset":
            parts["masker"] = MASKERS[self.mask](ratio=self.mask_ratio)
        if self.method == "mae-st":
            return mae_st(self.size, patch_size=self.patch_size, pred_t_dim=self.pred_t_dim, **parts)
        if self.pred_t_dim is not None:
            raise ValueError("pred_t_dim belongs to mae-st; videomae predicts every frame")
        return videomae(self.size, patch_size=self.patch_size or 16, **parts)


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Pretrain a masked autoencoder on videos.

    What is left out is chosen to fit the videos and the machine, and the program says what it chose.
    """

    preset: Literal[
        "auto",
        "videomae-tiny",
        "videomae-small",
        "videomae-base",
        "videomae-large",
        "videomae-huge",
        "mae-st-tiny",
        "mae-st-small",
        "mae-st-base",
        "mae-st-large",
        "mae-st-huge",
    ] = "auto"
    frames: int = 16
    """Frames of a clip."""
    image_size: int | None = None
    """Height and width in pixels that frames are cropped to."""
    patch_size: int | None = None
    """Pixels."""
    tubelet: int | None = None
    """Frames in a token."""
    channels: int | None = None
    """1 grey, 3 colour; any number for arrays."""
    stride: int | None = None
    """Take every so many frames."""
    fps: float | None = None
    """Take so many frames a second instead."""
    seconds: float | None = None
    """Spread the frames over so long a stretch instead."""
    mask: Literal["preset", "tube", "uniform", "frame"] = "preset"
    mask_ratio: float = 0.9
    norm_target: bool = True
    """Predict each tubelet with its own mean and deviation taken out; --no-norm-target predicts plain pixels."""
    crop: Literal["auto", "multi-scale", "resized", "centre"] = "auto"
    repeats: int = 1
    """Samples made of each video that is decoded."""
    decoder: Decoder = "auto"

    def settings(self, say: Callable[[str], None]) -> Pretrain[Model, Data]:
        """Choose what was left open, and say why."""
        facts = survey(self.data, channels=self.channels, decoder=self.decoder)
        model, data = self._model(facts), self._data(facts)
        say(
            f"{facts.count} videos of about {facts.frames} frames, {facts.rate:.3g} a second, "
            f"{facts.height} x {facts.width} pixels, {facts.channels} channels, read by {facts.decoder}"
        )
        least = 5e-4 if model.size in ("tiny", "small") else 0.0
        return self.complete(
            model,
            data,
            samples=facts.count * self.repeats,
            batch=64 if torch.cuda.is_available() else 8,
            lr=lambda batch: max(least, scaled_lr(1.5e-4, batch)),
            what=f"{model.method}-{model.size}, {describe(data.sampling(model.frames))}, image {model.image_size[0]}, "
            f"patch {model.tubelet} x {model.patch_size}, {data.crop} crop",
            say=say,
            optim=AdamW(no_decay=NO_DECAY if model.method == "videomae" else ()),
        )

    def _model(self, facts: Survey) -> Model:
        size = (
            ("small" if torch.cuda.is_available() else "tiny") if self.preset == "auto" else self.preset.split("-")[-1]
        )
        side = fitting_size(facts) if self.image_size is None else self.image_size
        return Model(
            method="mae-st" if self.preset.startswith("mae-st") else "videomae",
            size=size,  # type: ignore[arg-type]  # the last word of a preset is a size
            frames=self.frames,
            image_size=(side, side),
            # A huge MAE-ST has patches of 14 at 224.
            patch_size=self.patch_size or fitting_patch(side, most=16 if self.preset == "mae-st-huge" else 14),
            tubelet=self.tubelet or (2 if self.frames % 2 == 0 else 1),
            channels=self.channels or facts.channels,
            norm_target=self.norm_target,
            mask=self.mask,
            mask_ratio=self.mask_ratio,
        )

    def _data(self, facts: Survey) -> Data:
        small = min(facts.height, facts.width) < SMALL_FRAME
        stride = self.stride
        if stride is None and self.fps is None and self.seconds is None:
            stride = fitting_stride(facts.frames, self.frames)
        crop = self.crop
        if crop == "auto":
            crop = "centre" if small else "resized" if self.preset.startswith("mae-st") else "multi-scale"
        return Data(
            root=self.data,
            stride=stride,
            fps=self.fps,
            seconds=self.seconds,
            crop=crop,
            repeats=self.repeats,
            decoder=self.decoder,
        )


def restore(record: Mapping[str, Any]) -> Pretrain[Model, Data]:
    """Return the settings that a run's ``config.json`` holds."""
    return Pretrain.restored(record, Model, Data)


def fitting_size(facts: Survey) -> int:
    """Return the image size for a data set: 224 where frames are large enough, else the next usual size below."""
    side = min(facts.height, facts.width)
    if side < SMALL_FRAME:
        return side if side % 2 == 0 else side - 1 if side > 3 else side
    # A CPU gets through 112 x 112 in a quarter of the time.
    most = 224 if torch.cuda.is_available() else 112
    return max(size for size in (48, 64, 96, 112, 128, 160, 192, 224) if size <= max(min(side, most), 48))


def fitting_patch(side: int, most: int = 14) -> int:
    """Return the smallest patch that makes at most ``most`` tokens a side: 14, as patches of 16 make of 224."""
    return next(patch for patch in range(1, side + 1) if side % patch == 0 and side // patch <= most)
