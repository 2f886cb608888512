"""The mini-PointNet that turns a group of points into a vector, and how Point-MAE starts.

Shapes: B clouds, N groups, K points of a group, C numbers a point, D width.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.parts import part


@part
class GroupPointNet(nn.Module):
    """Embed groups of points, whatever their order: Point-MAE (arXiv:2203.06604), section 3.2, ``class Encoder``.

    Each point goes through C -> 128 -> 256, meets the maximum over its group, and goes on 512 -> 512 -> D; the maximum
    over the group is the vector. The authors' convolutions of size 1 are the linear layers they amount to, and what
    only depends on the group is computed once a group: the half of the third layer that reads the group's maximum.

    Batch normalisation takes its statistics from all groups that are given. Which those are, the encoder decides
    (``embed_hidden``; docs/official.md P2).
    """

    def __init__(self, *, channels: int = 3, dim: int = 384) -> None:
        super().__init__()
        self.channels, self.dim = channels, dim
        self.first = nn.ModuleList([nn.Linear(channels, 128), nn.BatchNorm1d(128), nn.Linear(128, 256)])
        self.second = nn.ModuleList([nn.Linear(512, 512), nn.BatchNorm1d(512), nn.Linear(512, dim)])

    def forward(self, x: Float[Tensor, "B N K*C"]) -> Float[Tensor, "B N D"]:
        """Return a vector for every group."""
        batch, num_groups, width = x.shape
        size = width // self.channels
        points = x.reshape(-1, self.channels)
        rise, norm, lift = self.first
        each = lift(F.relu(norm(rise(points)), inplace=True))
        whole = group_max(each, size)
        rise, norm, lift = self.second
        # cat([whole, each]) @ W, without the copies of whole
        of_whole, of_each = rise.weight.split(256, dim=1)
        mixed = F.linear(each, of_each).view(-1, size, 512) + F.linear(whole, of_whole, rise.bias)[:, None]
        each = lift(F.relu(norm(mixed.view(-1, 512)), inplace=True))
        return group_max(each, size).view(batch, num_groups, self.dim)


def group_max(x: Float[Tensor, "BNK D"], size: int) -> Float[Tensor, "BN D"]:
    """Return the maximum over every ``size`` rows; the gradient goes to one of them, as in ``torch.max``."""
    return x.view(-1, size, x.shape[1]).max(dim=1).values


@torch.no_grad()
def start_as_point_mae(model: nn.Module) -> None:
    """Start the weights of a MaskedModel as ``Point_MAE.py`` does (docs/official.md P8)."""
    for layer in model.encoder.modules():  # type: ignore[union-attr]  # torch types a submodule as Module | Tensor
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in model.decoder.blocks.modules():  # type: ignore[union-attr]
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    # The decoder's positions and head belong to no module that their code starts: they keep torch's default.
    nn.init.trunc_normal_(model.decoder.mask_token, std=0.02)  # type: ignore[union-attr, arg-type]
