"""Errors of reconstructions in the units of the contents, and those of a simple baseline."""

from collections.abc import Iterable

import torch
from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.seeds import generator
from maskkit.targets import Painted
from maskkit.types import take


@torch.no_grad()
def errors(model: MaskedModel, batches: Iterable[Tensor], *, seed: int = 0) -> tuple[float, float]:
    """Return the mean squared error of the prediction, and that of the mean of the visible tokens.

    ``batches`` are tensors [B ...]. The mean over visible tokens is taken per sample and per element of a token (pixel
    of a patch). Both errors are in units of normalised contents. Predictions of normalised targets are given the true
    mean and deviation of the token, so errors of such models are comparable only with each other. Raises ValueError if
    the target predicts no contents.
    """
    ours, filled, count = 0.0, 0.0, 0
    rng = generator(seed)
    model.eval()
    if not isinstance(model.target, Painted):
        raise ValueError(f"{type(model.target).__name__} predicts no contents, so there is no error of hidden contents")
    for batch in batches:
        out = model(batch, rng=rng)
        hidden = take(out.tokens.x, out.mask.hidden)
        mean = take(out.tokens.x, out.mask.visible).mean(dim=1, keepdim=True)
        predicted = model.target.contents(out.prediction.float(), out.tokens, out.mask)
        ours += (predicted - hidden).square().mean().item() * len(hidden)
        filled += (mean - hidden).square().mean().item() * len(hidden)
        count += len(hidden)
    return ours / count, filled / count
