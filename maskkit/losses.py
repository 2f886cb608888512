"""Losses compare prediction and value, per token, in float32: ``(prediction, value) -> [B H]``."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from maskkit.kernels.chamfer import chamfer
from maskkit.parts import part


@part
@dataclass(frozen=True)
class MeanSquared:
    """The mean over T of squared differences. MAE (arXiv:2111.06377), section 3."""

    def __call__(self, prediction: Float[Tensor, "B H T"], value: Float[Tensor, "B H T"]) -> Float[Tensor, "B H"]:
        """Return one number a hidden token."""
        return (prediction.float() - value.float()).square().mean(dim=-1)


@part
@dataclass(frozen=True, kw_only=True)
class Chamfer:
    """The Chamfer distance between the points predicted for a token and its own: order among them does not count.

    T is read as points of ``axes`` coordinates. With each point's distance to the nearest of the other set,
    ``norm="l2"`` is mean(d²) + mean(d²) and ``norm="l1"`` is (mean(d) + mean(d)) / 2: both as Point-MAE's
    ``chamfer_dist/__init__.py`` has them. Its training log shows the loss times 1000 (docs/official.md P11); ours
    shows the loss.
    """

    norm: Literal["l1", "l2"] = "l2"
    axes: int = 3

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.norm not in ("l1", "l2"):
            raise ValueError(f"norm must be l1 or l2, got {self.norm!r}")

    def __call__(self, prediction: Float[Tensor, "B H T"], value: Float[Tensor, "B H T"]) -> Float[Tensor, "B H"]:
        """Return one number a hidden token, in the unit of the coordinates, squared for l2."""
        sets = (x.float().reshape(-1, x.shape[-1] // self.axes, self.axes) for x in (prediction, value))
        there, back = chamfer(*sets)
        if self.norm == "l1":
            # The root's gradient is infinite at 0, where two points meet; theirs becomes NaN there.
            there, back = (distance.clamp_min(1e-12).sqrt() for distance in (there, back))
        total = there.mean(dim=1) + back.mean(dim=1)
        return (total / 2 if self.norm == "l1" else total).view(prediction.shape[:2])
