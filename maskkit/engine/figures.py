"""Figures of reconstructions during training. Errors in figures never stop training."""

from collections.abc import Callable
from pathlib import Path

import torch

from maskkit.batches import Batch, stack
from maskkit.data.samples import first_samples
from maskkit.data.source import Source
from maskkit.engine.log import Log, NullLog
from maskkit.engine.step import MASKS
from maskkit.files import whole_files
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
    """Draw the first samples under a fixed mask, so that figures of different steps can be compared.

    All processes run the model, because each may hold a part of the weights; the process with ``draw`` draws. Errors
    are reported in one line, and training continues.
    """
    was_training = model.training
    try:
        samples = [] if source is None else first_samples(source, NUM_SAMPLES)
        if not samples:
            raise ValueError("none of the first samples can be read")
        batch = stack(samples).to(next(model.parameters()).device)
        with torch.no_grad(), autocast:
            output = model.eval()(batch, rng=generator(0, MASKS))
        if draw is not None:
            path.parent.mkdir(exist_ok=True)
            with whole_files(path) as aside:
                draw(batch, output, model, aside)
            log.picture(path, step)
    except Exception as error:  # noqa: BLE001  # a target without contents, a full disk, an error in a library
        log.say(f"no figure: {' '.join(str(error).split()) or type(error).__name__}")
    finally:
        model.train(was_training)
