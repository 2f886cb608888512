"""Losses compare predictions and values per token, in float32: ``(prediction, value) -> losses [B K]``.

Shapes: B samples, K predicted tokens, T width of a target.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from maskkit.kernels.chamfer import chamfer
from maskkit.parts import part


class Loss(Protocol):
    """Compares predictions and values: (prediction, value) -> [B K]. A loss that needs more declares ``*, step``."""

    def __call__(self, prediction: Tensor, value: Tensor, *_: Any, **__: Any) -> Float[Tensor, "B K"]:
        """Return one float32 number per token."""


@part
@dataclass(frozen=True)
class MeanSquared:
    """The mean over T of squared differences. MAE (arXiv:2111.06377), section 3."""

    def __call__(self, prediction: Float[Tensor, "B K T"], value: Float[Tensor, "B K T"]) -> Float[Tensor, "B K"]:
        """Return one number per token."""
        return (prediction.float() - value.float()).square().mean(dim=-1)


@part
@dataclass(frozen=True)
class L1:
    """The mean over T of absolute differences. SimMIM (arXiv:2111.09886), equation 1."""

    def __call__(self, prediction: Float[Tensor, "B K T"], value: Float[Tensor, "B K T"]) -> Float[Tensor, "B K"]:
        """Return one number per token."""
        return (prediction.float() - value.float()).abs().mean(dim=-1)


@part
@dataclass(frozen=True, kw_only=True)
class SmoothL1:
    """The mean over T of Huber's loss divided by ``beta``. data2vec (arXiv:2202.03555), equation 2.

    Differences up to ``beta`` count as ``d^2 / (2 beta)``, larger ones as ``|d| - beta / 2``. Raises ValueError unless
    ``beta`` is positive.
    """

    beta: float = 1.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        if self.beta <= 0:
            raise ValueError(f"beta must be positive, got {self.beta}; choose L1 for 0")

    def __call__(self, prediction: Float[Tensor, "B K T"], value: Float[Tensor, "B K T"]) -> Float[Tensor, "B K"]:
        """Return one number per token."""
        return F.smooth_l1_loss(prediction.float(), value.float(), reduction="none", beta=self.beta).mean(dim=-1)


@part
@dataclass(frozen=True)
class Cosine:
    """One minus the cosine between prediction and value, in [0, 2]. EVA (arXiv:2211.07636), section 2.1."""

    def __call__(self, prediction: Float[Tensor, "B K T"], value: Float[Tensor, "B K T"]) -> Float[Tensor, "B K"]:
        """Return one number per token."""
        return 1 - F.cosine_similarity(prediction.float(), value.float(), dim=-1)


@part
@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """The cross-entropy between scores over T classes and codes ``[B K]`` or probabilities ``[B K T]``.

    BEiT (arXiv:2106.08254), equation 1. A code of -1 is ignored. ``smoothing`` in [0, 1) is the share of the label that
    is spread over all classes.
    """

    smoothing: float = 0.0

    def __post_init__(self) -> None:
        """Validate the settings."""
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"smoothing must lie in [0, 1), got {self.smoothing}")

    def __call__(
        self, prediction: Float[Tensor, "B K T"], value: Int[Tensor, "B K"] | Float[Tensor, "B K T"]
    ) -> Float[Tensor, "B K"]:
        """Return one number per token."""
        scores = prediction.float().flatten(0, 1)
        classes = value.flatten(0, 1) if value.is_floating_point() else value.long().flatten()
        losses = F.cross_entropy(scores, classes, reduction="none", ignore_index=-1, label_smoothing=self.smoothing)
        return losses.view(prediction.shape[:2])


@part
@dataclass(frozen=True, kw_only=True)
class Chamfer:
    """The Chamfer distance between the predicted points and the true points of a token, regardless of their order.

    T holds points of ``axes`` coordinates each. With d the distance of each point to the nearest point of the other
    set, ``norm="l2"`` is mean(d²) + mean(d²) and ``norm="l1"`` is (mean(d) + mean(d)) / 2, both as in Point-MAE's
    ``chamfer_dist/__init__.py``. Its training log shows the loss times 1000 (docs/official.md P11), ours shows the
    loss. The unit is that of the coordinates, squared for l2.
    """

    norm: Literal["l1", "l2"] = "l2"
    axes: int = 3

    def __post_init__(self) -> None:
        """Validate the settings."""
        if self.norm not in ("l1", "l2"):
            raise ValueError(f"norm must be l1 or l2, got {self.norm!r}")

    def __call__(self, prediction: Float[Tensor, "B K T"], value: Float[Tensor, "B K T"]) -> Float[Tensor, "B K"]:
        """Return one number per token."""
        sets = (x.float().reshape(-1, x.shape[-1] // self.axes, self.axes) for x in (prediction, value))
        there, back = chamfer(*sets)
        if self.norm == "l1":
            # The gradient of the root is infinite at 0, where two points coincide. The authors' code returns NaN there.
            there, back = (distance.clamp_min(1e-12).sqrt() for distance in (there, back))
        total = there.mean(dim=1) + back.mean(dim=1)
        return (total / 2 if self.norm == "l1" else total).view(prediction.shape[:2])
