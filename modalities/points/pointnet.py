"""The mini-PointNet that embeds groups of points, and the initialisation of Point-MAE.

Shapes: B clouds, N groups, K points of a group, C numbers per point, D width.
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.kernels.linear import Linear, linear
from maskkit.model import MaskedModel
from maskkit.parts import part
from maskkit.types import take


@part
class GroupPointNet(nn.Module):
    """Embed groups of points, whatever their order: Point-MAE (arXiv:2203.06604), section 3.2, ``class Encoder``.

    Each point goes through C -> 128 -> 256, meets the maximum over its group, and goes on 512 -> 512 -> D; the maximum
    over the group is the vector. The authors' convolutions of size 1 are the linear layers they amount to, and what
    can be moved out of the loop over points is, which changes nothing but rounding: the half of the third layer that
    reads the group's maximum runs once a group, the other half is one product with the layer before it (nothing lies
    between), and so do biases run, since the maximum of x + b is that of x, plus b.

    Batch normalisation takes its statistics from all groups that are given. Which those are, the encoder decides
    (``embed_hidden``; docs/official.md P2). Of hidden groups nothing but these statistics is ever used, so behind the
    second one they are left out.
    """

    def __init__(self, *, channels: int = 3, dim: int = 384) -> None:
        super().__init__()
        self.channels, self.dim = channels, dim
        self.first = nn.ModuleList([Linear(channels, 128), nn.BatchNorm1d(128), Linear(128, 256)])
        self.second = nn.ModuleList([Linear(512, 512), nn.BatchNorm1d(512), Linear(512, dim)])

    def forward(self, x: Float[Tensor, "B N K*C"], seen: Int[Tensor, "B V"] | None = None) -> Float[Tensor, "B N|V D"]:
        """Return a vector for every group, or for those that are ``seen``."""
        if seen is not None and not self.training:
            x, seen = take(x, seen), None  # the statistics are fixed
        batch, num_groups, width = x.shape
        size = width // self.channels
        rise, norm, lift = (cast(Any, layer) for layer in self.first)  # torch types a layer of a list too broadly
        points = F.relu(norm(rise(x.reshape(-1, self.channels))), inplace=True)
        whole = group_max(linear(points, lift.weight), size) + lift.bias

        rise, norm, last = (cast(Any, layer) for layer in self.second)
        of_whole, of_each = rise.weight.split(rise.in_features // 2, dim=1)  # the maximum comes first in their cat
        once = linear(whole, of_whole, rise.bias + of_each @ lift.bias)
        points = linear(points, of_each @ lift.weight).view(-1, size, len(of_each)).add_(once[:, None])
        points = norm(points.flatten(0, 1))
        if seen is not None:
            rows = (seen + num_groups * torch.arange(batch, device=seen.device)[:, None]).flatten()
            points = points.view(batch * num_groups, -1).index_select(0, rows).view(-1, points.shape[1])
        points = F.relu(points, inplace=True)
        return (group_max(linear(points, last.weight), size) + last.bias).view(batch, -1, self.dim)


class _GroupMax(torch.autograd.Function):
    """The maximum along axis 1. torch's own looks for the indices, which takes five times as long as the maximum."""

    @staticmethod
    def forward(ctx: Any, x: Float[Tensor, "G K D"]) -> Float[Tensor, "G D"]:
        """Keep the maximum; where it lay is found out when the gradient comes."""
        top = x.amax(dim=1)
        ctx.save_for_backward(x, top)
        return top

    @staticmethod
    def backward(ctx: Any, grad: Float[Tensor, "G D"]) -> Float[Tensor, "G K D"]:
        """Share the gradient among equal maxima, as amax does: a point that is there twice counts once."""
        x, top = ctx.saved_tensors
        highest = x == top[:, None]
        share = grad / highest.view(torch.uint8).sum(dim=1, dtype=torch.int32)
        return torch.where(highest, share[:, None], 0)


def group_max(x: Float[Tensor, "G*K D"], size: int) -> Float[Tensor, "G D"]:
    """Return the maximum over every ``size`` rows."""
    top: Tensor = _GroupMax.apply(x.view(-1, size, x.shape[1]))  # type: ignore[no-untyped-call]
    return top


@torch.no_grad()
def init_point_mae_weights(model: MaskedModel) -> MaskedModel:
    """Initialise a model as ``Point_MAE.py`` does (docs/official.md P8), and return it.

    Its encoder and decoder must be ``SparseEncoder`` and ``JointDecoder``.
    """
    assert isinstance(model.encoder, SparseEncoder) and isinstance(model.decoder, JointDecoder)
    for layer in model.encoder.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for layer in model.decoder.blocks.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    # The decoder's positions and head belong to no module that their code starts: they keep torch's default.
    nn.init.trunc_normal_(model.decoder.mask_token, std=0.02)
    model.setup()  # parts that copied the encoder do so again
    return model
