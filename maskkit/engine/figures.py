"""Figures of reconstructions while a run goes on. Nothing about figures may stop training."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch

from maskkit.batches import Batch, Sample, stack
from maskkit.data.source import Source
from maskkit.engine.log import Log, NullLog
from maskkit.engine.step import MASKS
from maskkit.model import MaskedModel
from maskkit.seeds import generator
from maskkit.types import Output

# (batch, output, model, path): draws input, masked input and reconstruction
Draw = Callable[[Batch, Output, MaskedModel, Path], None]

NUM_SAMPLES = 8
TRIED = 4 * NUM_SAMPLES  # samples, to find some that can be read


def draw_some(
    model: MaskedModel,
    source: Source | None,
    path: Path,
    draw: Draw | None,
    autocast: torch.autocast,
    log: Log | NullLog,
    step: int,
) -> None:
    """Draw the first few samples, always under the same mask, so that figures compare over time.

    Every process computes, since each may hold a part of the weights; the one with ``draw`` draws. Whatever goes wrong
    is said in a line, and the run goes on.
    """
    samples = [] if source is None else _read_some(source)
    if not samples:
        log.say(f"no picture: none of the first {TRIED} samples can be read")
        return
    was_training = model.training
    try:
        batch = stack(samples).to(next(model.parameters()).device)
        with torch.no_grad(), autocast:
            output = model.eval()(batch, rng=generator(0, MASKS))
        if draw is not None:
            path.parent.mkdir(exist_ok=True)
            draw(batch, output, model, path)
            log.picture(path, step)
    except Exception as error:  # noqa: BLE001  # a target without pictures, a full disk, a library's defect
        log.say(f"no picture: {' '.join(str(error).split()) or type(error).__name__}")
    finally:
        model.train(was_training)


def _read_some(source: Source) -> list[Sample]:
    samples: list[Sample] = []
    for index in range(min(len(source), TRIED)):
        with contextlib.suppress(ValueError):  # broken files are counted where they are trained on
            samples.append(source.read(index, generator(0, index)))
        if len(samples) == NUM_SAMPLES:
            break
    return samples
