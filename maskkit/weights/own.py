"""maskkit's own layout: the names of the module tree."""

from collections.abc import Mapping

from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.weights.translation import Translation

PARTS = ("model",)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are ours."""
    return any(name.startswith("encoder.embed") for name in state)


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Return the weights unchanged."""
    return Translation(state=dict(state))


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Return the weights unchanged."""
    return dict(state)
