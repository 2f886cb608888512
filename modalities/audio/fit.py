"""Default settings of a run for its recordings and the machine."""

from collections.abc import Callable
from dataclasses import replace

import torch

from maskkit.modalities.audio.data import Data
from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd
from maskkit.modalities.audio.inputs import Inputs, fitting_length
from maskkit.modalities.audio.survey import Survey, measure, survey
from maskkit.modality import DataSettings, Fit, MethodSettings


def fit(model: MethodSettings, data: DataSettings, say: Callable[[str], None]) -> Fit:
    """Return settings with every None replaced for a model and its recordings, and report the choices."""
    assert isinstance(model, Inputs) and isinstance(data, Data)
    cuda = torch.cuda.is_available()
    facts = survey(data.root, mels=model.mels, front_end=model.front_end)
    frames = model.length or fitting_frames(facts, model.patch_size, model.front_end)
    for line in _said(facts, frames, model.front_end):
        say(line)
    chosen: dict[str, object] = {"frames": frames, "seconds": None}
    if getattr(model, "size", "") is None:
        chosen["size"] = "base" if cuda else "tiny"
    if data.measure and model.mean is None:
        mean, std = measure(data.root, mels=model.mels, front_end=model.front_end)
        say(f"measured mean {mean:.4f} and deviation {std:.4f} of log mel energies")
        chosen |= {"mean": mean, "std": std}
    elif model.mean is None and model.front_end != AUDIO_MAE:
        say("mean and deviation are AudioSet's at 16,000 Hz; --measure takes those of these recordings instead")
    model = replace(model, **chosen)  # type: ignore[arg-type]  # fields of a settings class
    name, size, decoder = (
        model.name,
        getattr(model, "size", None),
        getattr(model, "decoder", None),
    )
    summary = f"{name}{f'-{size}' if size else ''}{f', {decoder} decoder' if decoder else ''}"
    return Fit(model=model, data=data, samples=facts.count, batch=128 if cuda else 32, summary=summary)


def fitting_frames(facts: Survey, patch_size: int = 16, front_end: FrontEnd = AUDIO_MAE) -> int:
    """Return the clip length for a data set: nine of ten recordings whole, and 1024 frames at most, the authors'."""
    return min(fitting_length(facts.long, patch_size, front_end), 1024 // patch_size * patch_size)


def _said(facts: Survey, frames: int, front_end: FrontEnd) -> list[str]:
    rates = ", ".join(f"{rate:,}" for rate in facts.rates[:3]) + (" ..." if len(facts.rates) > 3 else "")
    lines = [f"{facts.count} recordings, about {facts.median:.1f} s, nine of ten within {facts.long:.1f} s, {rates} Hz"]
    if facts.rates != (front_end.sample_rate,):
        lines.append(f"resampled to {front_end.sample_rate:,} Hz as they are read")
    return [*lines, f"clips of {frames} frames, {frames / front_end.frames_per_second:.2f} s"]
