"""What a run on recordings is made of: a model, a data set, and defaults that fit both to what is at hand."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from maskkit.modalities.audio.data import Data
from maskkit.modalities.audio.filterbanks import RATE
from maskkit.modalities.audio.presets import AUDIOSET_MEAN, AUDIOSET_STD, Hide, Size, audiomae, masker
from maskkit.modalities.audio.survey import Survey, measure, survey
from maskkit.modalities.audio.transforms import Excerpt, Padding

from maskkit.engine.optim import AdamW, scaled_lr
from maskkit.engine.options import Options
from maskkit.engine.run import Pretrain
from maskkit.model import MaskedModel


@dataclass(frozen=True, kw_only=True)
class AudioMAE:
    """Settings of ``audio.audiomae``."""

    size: Size = "base"
    frames: int = 1024
    """Length of a clip in frames of 10 ms."""
    mels: int = 128
    """Frequency bands."""
    patch_size: int = 16
    decoder: Literal["window", "global"] = "window"
    positions: Literal["authors", "corrected"] = "authors"
    """The authors' transposed table, which their weights need, or the corrected one."""
    norm_target: bool = True
    """Predict each patch with its own mean and deviation taken out."""
    mask: Hide = "random"
    """Hide patches at random, moments, bands, or both of these."""
    mask_ratio: float | tuple[float, float] | None = None
    """Hidden share, 0.8 by default; with mask both a pair, of time and frequency, 0.7 0.3 by default."""
    mean: float = AUDIOSET_MEAN
    """Of the log mel energies."""
    std: float = AUDIOSET_STD

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""
        return audiomae(
            self.size,
            frames=self.frames,
            mels=self.mels,
            patch_size=self.patch_size,
            decoder=self.decoder,
            positions=self.positions,
            norm_target=self.norm_target,
            mask=self.mask,
            mask_ratio=self.mask_ratio,
            mean=self.mean,
            std=self.std,
        )


@dataclass(frozen=True, kw_only=True)
class Command(Options):
    """Pretrain a masked autoencoder on recordings.

    What is left out is chosen to fit the recordings and the machine, and the program says what it chose.
    """

    preset: Literal["auto", "audiomae-tiny", "audiomae-small", "audiomae-base", "audiomae-large"] = "auto"
    seconds: float | None = None
    """Length of a clip; longer recordings are cut, shorter ones padded."""
    mels: int = 128
    """Frequency bands."""
    decoder: Literal["window", "global"] = "window"
    positions: Literal["authors", "corrected"] = "authors"
    """The authors' transposed table, or the corrected one."""
    mask: Hide = "random"
    """Hide patches at random, moments, bands, or both of these."""
    mask_ratio: float | tuple[float, float] | None = None
    """Hidden share, 0.8 by default; with mask both a pair, of time and frequency, 0.7 0.3 by default."""
    norm_target: bool = True
    """Predict each patch with its own mean and deviation taken out; --no-norm-target predicts plain energies."""
    measure: bool = False
    """Measure mean and standard deviation of these recordings instead of assuming AudioSet's."""
    excerpt: Excerpt = "random"
    """Part of a longer recording."""
    gain: bool = False
    """Make recordings louder or softer at random."""
    padding: Padding = "silence"
    """Fill up short recordings as the authors do, or ignore patches that lie wholly past the end.
    Ignored: the shortest recording of a batch, of two patches in time at least, says how many of each are used."""

    def settings(self, say: Callable[[str], None]) -> Pretrain[AudioMAE, Data]:
        """Choose what was left open, and say why."""
        masker(self.mask, self.mask_ratio)  # says what is wrong before thousands of files are looked at
        if self.seconds is not None and self.seconds <= 0:
            raise ValueError(f"--seconds must be positive, got {self.seconds:g}")
        facts = survey(self.data, mels=self.mels)
        frames = fitting_frames(facts) if self.seconds is None else fitting_length(self.seconds)
        cuda = torch.cuda.is_available()
        size: Size = ("base" if cuda else "tiny") if self.preset == "auto" else self.preset.removeprefix("audiomae-")  # type: ignore[assignment]  # Literals cannot be sliced
        for line in _said(facts, frames):
            say(line)
        mean, std = AUDIOSET_MEAN, AUDIOSET_STD
        if self.measure:
            mean, std = measure(self.data, mels=self.mels)
            say(f"measured mean {mean:.4f} and deviation {std:.4f} of log mel energies")
        model = AudioMAE(
            size=size,
            frames=frames,
            mels=self.mels,
            decoder=self.decoder,
            positions=self.positions,
            norm_target=self.norm_target,
            mask=self.mask,
            mask_ratio=self.mask_ratio,
            mean=mean,
            std=std,
        )
        least = 5e-4 if size in ("tiny", "small") else 0.0
        return self.complete(
            model,
            Data(root=self.data, excerpt=self.excerpt, gain=self.gain, padding=self.padding),
            samples=facts.count,
            batch=128 if cuda else 32,
            lr=lambda batch: max(least, scaled_lr(2e-4, batch)),
            what=f"audiomae-{size}, {self.decoder} decoder",
            say=say,
            optim=AdamW(weight_decay=1e-4),
        )


def restore(record: Mapping[str, Any]) -> Pretrain[AudioMAE, Data]:
    """Return the settings that a run's ``config.json`` holds."""
    return Pretrain.restored(record, AudioMAE, Data)


def fitting_frames(facts: Survey) -> int:
    """Return the clip length for a data set: nine of ten recordings whole, and 1024 frames at most, the authors'."""
    return min(fitting_length(facts.long), 1024)


def fitting_length(seconds: float) -> int:
    """Return the next whole number of patches of 16 frames, four at least."""
    return max(-(-round(seconds * 100) // 16), 4) * 16


def _said(facts: Survey, frames: int) -> list[str]:
    rates = ", ".join(f"{rate:,}" for rate in facts.rates[:3]) + (" ..." if len(facts.rates) > 3 else "")
    lines = [f"{facts.count} recordings, about {facts.median:.1f} s, nine of ten within {facts.long:.1f} s, {rates} Hz"]
    if facts.rates != (RATE,):
        lines.append(f"resampled to {RATE:,} Hz as they are read")
    return [*lines, f"clips of {frames} frames, {frames / 100:.2f} s"]
