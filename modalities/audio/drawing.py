"""Figures of spectrograms: input, visible part and reconstruction on one time and frequency axis; and sound."""

import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.batches import tensor_of
from maskkit.drawing.caption import caption, column_titles
from maskkit.modalities.audio.filterbanks import band_hertz, waveform
from maskkit.modalities.audio.front_end import FrontEnd, front_end_of
from maskkit.model import MaskedModel
from maskkit.targets import Painted
from maskkit.types import Output, put, take

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

HERTZ = (200, 500, 1000, 2000, 4000, 8000, 16_000, 32_000)  # marked on the frequency axis
WIDTH, HEIGHT = 4.2, 1.5  # inches of one spectrogram
DECIBEL = 10 / np.log(10)  # of a natural logarithm of power


def draw(batch: Tensor, output: Output, model: MaskedModel, path: Path) -> None:
    """Write a PNG with one row per sample [1 frames mels]: input, what the encoder saw, what the model predicted."""
    spectrograms(batch, output, model).savefig(path)


def spectrograms(batch: Tensor, output: Output, model: MaskedModel) -> "Figure":
    """Return the figure of a batch [B 1 frames mels].

    All spectrograms of a row share their axes and colours: seconds from the start of the excerpt, hertz on the mel
    scale, decibels. White patches are hidden or do not exist; in the reconstruction, they are in neither set.
    """
    from matplotlib.figure import Figure  # noqa: F811  # slow to import, and other commands do not need it

    columns = (batch, *_seen_and_filled(batch, output, model))
    rows = [_decibels(each, model) for each in columns]
    front_end = front_end_of(model.tokenizer)  # type: ignore[arg-type]  # spectrograms are cut by Patches
    titles = column_titles(output)
    figure = Figure(figsize=(3 * WIDTH, len(batch) * HEIGHT + 0.9), layout="constrained", dpi=90)
    cells = figure.subplots(len(batch), 3, squeeze=False, sharex=True, sharey=True)
    for number, row in enumerate(zip(*rows, strict=True)):
        low, high = _range(row[0])
        for axes, energies, title in zip(cells[number], row, titles, strict=True):
            shown = _show(axes, energies, (low, high), front_end)
            if number == 0:
                axes.set_title(title)
            if number == len(batch) - 1:
                axes.set_xlabel("seconds")
        cells[number][0].set_ylabel("hertz")
        figure.colorbar(shown, ax=list(cells[number]), label="dB", pad=0.01)
    figure.supxlabel(_note(output, model), fontsize=9, color="gray")
    return figure


def _note(output: Output, model: MaskedModel) -> str:
    used = output.mask.hidden.shape[1] + output.mask.visible.shape[1]
    there = output.tokens.shape[1] if output.tokens.valid is None else int(output.tokens.valid.sum(dim=1).max())
    if there == used:
        return caption(model, "patches")
    # The shortest of clips of several lengths decides how many patches of each are used.
    return caption(model, "patches", "white ones in the reconstruction are neither visible nor predicted")


def write_sound(spectrogram: Float[Tensor, "1 T M"], model: MaskedModel, path: Path) -> Path:
    """Write a WAV of a spectrogram in the model's units. Approximate, as ``filterbanks.waveform`` says."""
    energies = _raw(spectrogram[None], model)[0, 0]
    front_end = front_end_of(model.tokenizer)  # type: ignore[arg-type]  # spectrograms are cut by Patches
    sound = waveform(energies[~energies.isnan().all(dim=1)], front_end=front_end)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(front_end.sample_rate)
        file.writeframes((sound.cpu().numpy() * 32767).astype("<i2").tobytes())
    return path


def _seen_and_filled(batch: Tensor, output: Output, model: MaskedModel) -> tuple[Tensor, Tensor]:
    """Return what was visible, and that with the prediction; tokens that are in neither set are in neither picture."""
    tokens, mask, target = output.tokens, output.mask, model.target
    if not isinstance(target, Painted):
        raise ValueError(f"{type(target).__name__} predicts no contents of tokens, so there is no reconstruction")
    seen = put(torch.full_like(tokens.x, torch.nan), mask.visible, take(tokens.x, mask.visible))
    filled = put(seen, mask.hidden, target.contents(output.prediction.float(), tokens, mask))
    everything = torch.arange(tokens.shape[1], device=seen.device).expand(len(seen), -1)
    first, second = (
        tensor_of(model.tokenizer.to_input(model.tokenizer.paint(tokens, everything, x), batch)) for x in (seen, filled)
    )
    return first, second


def _raw(batch: Float[Tensor, "B 1 T M"], model: MaskedModel) -> Float[Tensor, "B 1 T M"]:
    """Undo the normalisation."""
    tokenizer = model.tokenizer
    mean, scale = tokenizer.mean[0], tokenizer.std[0]  # type: ignore[attr-defined]  # spectrograms are cut by Patches
    return batch.float() * scale + mean


def _decibels(batch: Float[Tensor, "B 1 T M"], model: MaskedModel) -> Float[Tensor, "B T M"]:
    return _raw(batch, model)[:, 0].cpu() * DECIBEL


def _range(energies: Float[Tensor, "T M"]) -> tuple[float, float]:
    """Return the colours' range: all but the faintest and loudest hundredth."""
    there = energies[energies.isfinite()]
    low, high = there.quantile(torch.tensor([0.01, 0.995]).to(there)).tolist()
    return low, max(high, low + 1)


def _show(axes: "Axes", energies: Float[Tensor, "T M"], span: tuple[float, float], front_end: FrontEnd) -> "AxesImage":
    """Draw one spectrogram, time to the right and frequency upwards."""
    frames, mels = energies.shape
    centres = band_hertz(mels, front_end)
    marks = [hertz for hertz in HERTZ if centres[0] <= hertz <= centres[-1]]
    if len(marks) < 2:  # a narrow range of frequencies
        marks = [round(centres[0]), round(centres[-1])]
    shown = axes.imshow(
        energies.T.numpy(),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        extent=(0, frames / front_end.frames_per_second, -0.5, mels - 0.5),
        vmin=span[0],
        vmax=span[1],
        cmap="magma",
    )
    axes.set_yticks(np.interp(marks, centres, range(mels)), [f"{hertz:,}" for hertz in marks], fontsize=7)
    return shown
