"""Figures of reconstructions while a run goes on. Nothing about figures may stop training."""

from collections.abc import Callable
from pathlib import Path

import torch

from maskkit.batches import Batch, stack
from maskkit.data.samples import first_samples
from maskkit.data.source import Source
from maskkit.engine.log import Log, NullLog
from maskkit.engine.step import MASKS
from maskkit.model import MaskedModel
from maskkit.seeds import generator
from maskkit.types import Output

# (batch, output, model, path): draws input, masked input and reconstruction
Draw = Callable[[Batch, Output, MaskedModel, Path], None]

NUM_SAMPLES = 8


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
    samples = [] if source is None else first_samples(source, NUM_SAMPLES)
    if not samples:
        log.say("no picture: none of the first samples can be read")
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
