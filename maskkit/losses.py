"""Losses compare prediction and value, per token, in float32: ``(prediction, value) -> [B H]``."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from maskkit.parts import part


@part
@dataclass(frozen=True)
class MeanSquared:
    """The mean over T of squared differences. MAE (arXiv:2111.06377), section 3."""

    def __call__(self, prediction: Float[Tensor, "B H T"], value: Float[Tensor, "B H T"]) -> Float[Tensor, "B H"]:
        """Return one number a hidden token."""
        return (prediction.float() - value.float()).square().mean(dim=-1)
