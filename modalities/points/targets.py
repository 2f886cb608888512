"""Targets of hidden groups: the coordinates of their points.

Shapes: B clouds, H hidden groups, K points of a group, F features of a point.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.parts import part
from maskkit.types import Mask, Tokens, take


@part
class Coordinates(nn.Module):
    """The points of each hidden group, relative to its centre. Point-MAE (arXiv:2203.06604), section 3.3.

    ``features`` beside the coordinates are not predicted: a set of predicted points has no order by which a feature
    could find its point.
    """

    def __init__(self, *, features: int = 0) -> None:
        super().__init__()
        self.features = features

    def forward(self, tokens: Tokens, mask: Mask, batch: Any) -> Float[Tensor, "B H K*3"]:
        """Return float32 coordinates."""
        hidden = take(tokens.x, mask.hidden).float()
        return hidden.view(*hidden.shape[:2], -1, 3 + self.features)[..., :3].flatten(2)

    def contents(self, value: Float[Tensor, "B H K*3"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Turn coordinates back into contents; features become 0, since nothing is known of them."""
        points = value.view(*value.shape[:2], -1, 3)
        return torch.cat([points, points.new_zeros(*points.shape[:3], self.features)], dim=3).flatten(2)
