"""Terms: the named summands of the objective. Each term maps a ``Step`` to a ``Result``.

Shapes: B samples, K predicted tokens, T width of a target, C classes.
"""

from typing import Protocol

import torch.nn.functional as F
from timm.layers import LayerNorm
from torch import nn

from maskkit.batches import Fields
from maskkit.decoder import Decoder
from maskkit.kernels.linear import Linear
from maskkit.losses import Loss, MeanSquared
from maskkit.parts import part
from maskkit.step import Result, Step, call
from maskkit.targets import Target


class Term(Protocol):
    """One named summand of the objective."""

    weight: float

    def __call__(self, step: Step) -> Result:
        """Return the losses of this term for a forward pass."""


def predict(step: Step, decoder: Decoder, target: Target, loss: Loss, on: str) -> Result:
    """Predict the tokens of the set ``on`` by the decoder, and compare them with the target's values, in float32."""
    mask = step.mask.asking(on)
    with step.float32():
        value = call(target, step.tokens, mask, step.batch, step=step)
    prediction = call(decoder, step.latent, step.tokens, mask, step=step)
    with step.float32():
        losses = call(loss, prediction, value, step=step)
    return Result(losses, prediction, value, mask)


@part
class Predict(nn.Module):
    """A further term that predicts tokens, with its own decoder, target and loss.

    ``on`` is the set of predicted tokens: "hidden", "visible", or a named set of the mask.
    """

    def __init__(
        self,
        *,
        decoder: Decoder,
        target: Target,
        loss: Loss = MeanSquared(),  # noqa: B008  # frozen, without state
        on: str = "hidden",
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.decoder, self.target, self.loss = decoder, target, loss
        self.on, self.weight = on, weight

    def forward(self, step: Step) -> Result:
        """Return one loss per predicted token."""
        return predict(step, self.decoder, self.target, self.loss, self.on)


@part
class Classify(nn.Module):
    """A supervised term: the cross-entropy of a linear classifier on pooled latents.

    The batch is ``Fields`` with int64 classes ``[B]`` under ``name``. A class of -1 stands for a sample without a
    label, which is ignored. ``pool`` is the "mean" of the tokens or the first "prefix" token. The share of labelled
    samples that are classified correctly is logged as ``accuracy``, or ``accuracy/NAME`` for another ``name``.
    ``maskkit.data.labelled.Labelled`` provides the labels. Raises ValueError for a batch without labels.
    """

    def __init__(
        self, *, latent: int, classes: int, name: str = "label", pool: str = "mean", weight: float = 1.0
    ) -> None:
        super().__init__()
        if pool not in ("mean", "prefix"):
            raise ValueError(f"pool must be mean or prefix, got {pool!r}")
        self.name, self.pool, self.weight = name, pool, weight
        self.norm = LayerNorm(latent)
        self.head = Linear(latent, classes)

    def forward(self, step: Step) -> Result:
        """Return the mean cross-entropy over the labelled samples, or 0 if there are none."""
        batch = step.batch
        if not isinstance(batch, Fields) or self.name not in batch:
            raise ValueError(
                f"a classifying term needs labels in the batch under {self.name!r}; open the data Labelled"
            )
        labels = batch[self.name]
        latent = step.latent
        pooled = latent.pooled if self.pool == "mean" else latent.prefix[:, 0]
        scores = self.head(self.norm(pooled)).float()
        known = labels >= 0
        with step.float32():
            total = F.cross_entropy(scores, labels, ignore_index=-1, reduction="sum")
            count = known.sum().clamp(min=1)
        right = (scores.argmax(dim=1) == labels) & known
        step.log("accuracy" if self.name == "label" else f"accuracy/{self.name}", right.sum() / count)
        return Result(total / count, scores, labels)
