"""Attention within small windows of a two-dimensional grid, as in Swin Transformer V2 (arXiv:2111.09883).

Shapes: B samples, R rows, C columns, D width, W windows of the batch, M windows of a sample, L cells of a window.

The Mlp, ``window_partition`` and ``window_reverse`` are timm's (``swin_transformer_v2_cr.py``, from which Audio-MAE's
authors took theirs). The block is our own: timm's shifts by half a window along both axes, does not mask padding, and
has changed in details since the weights were released.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from timm.layers import Mlp as SmallMlp
from timm.models.swin_transformer_v2_cr import window_partition, window_reverse
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maskkit.cached import cached
from maskkit.kernels.linear import Linear
from maskkit.layers import Mlp, Stack

Pair = tuple[int, int]

# Across the seam of a shifted grid the score drops by 100, as in timm and the authors' code. Scores reach +-1 / 0.01,
# so a head with the minimal temperature can still attend across the seam.
SEAM = -100.0
ABSENT = -1e4  # for absent cells; finite, so that a window of absent cells does not become NaN


class WindowAttention(nn.Module):
    """Multi-head cosine attention with a bias from relative coordinates. Swin V2, equations 2 and 4.

    A small network computes the bias from ``sign(d) log(1 + |d|)`` for each pair of cells, so windows may have any
    size. ``bias_dropout`` is applied inside and after that network in training: 0.1 twice in Audio-MAE's code
    (docs/official.md A3), 0.125 once in current timm. ``tau`` divides the cosine; timm learns -log(tau) instead,
    starting at -log(0.1).
    """

    def __init__(self, dim: int, heads: int, *, bias_dropout: float) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} is not divisible by {heads} heads")
        self.heads = heads
        self.qkv = Linear(dim, 3 * dim)
        self.proj = Linear(dim, dim)
        self.meta_mlp = SmallMlp(2, hidden_features=384, out_features=heads, act_layer=nn.ReLU, drop=bias_dropout)
        self.tau = nn.Parameter(torch.ones(heads))

    def forward(
        self, x: Float[Tensor, "W L D"], window: Pair, closed: Float[Tensor, "B|1 M L L"] | None
    ) -> Float[Tensor, "W L D"]:
        """Return attention within each window. ``closed`` is added to the scores."""
        count, length, dim = x.shape
        q, k, v = self.qkv(x).view(count, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.meta_mlp(log_distances(window, x.device)).float().T.reshape(self.heads, length, length)
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 rounds a score of 100 by up to a half
            # The authors clamp the product of both norms at 1e-6, here each norm is clamped: equal except for zero
            # vectors.
            q = F.normalize(q.float(), dim=-1, eps=1e-6) / self.tau.float().clamp(min=0.01)[:, None, None]
            scores = q @ F.normalize(k.float(), dim=-1, eps=1e-6).transpose(-2, -1) + bias
            if closed is not None:
                per_sample = scores.view(-1, closed.shape[1], self.heads, length, length)
                scores = (per_sample + closed[:, :, None]).view_as(scores)
            weights = scores.softmax(dim=-1)
        return self.proj((weights.to(v.dtype) @ v).transpose(1, 2).reshape(count, length, dim))


class WindowBlock(nn.Module):
    """A Swin V2 block with norms *after* attention and MLP: ``x + norm(attention(x))``. Swin V2, section 3.2."""

    def __init__(self, dim: int, heads: int, *, mlp_ratio: float, norm_eps: float, bias_dropout: float) -> None:
        super().__init__()
        self.attn = WindowAttention(dim, heads, bias_dropout=bias_dropout)
        self.norm1 = LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.norm2 = LayerNorm(dim, eps=norm_eps)

    def forward(
        self, x: Float[Tensor, "B R C D"], window: Pair, shift: Pair, closed: Float[Tensor, "B|1 M L L"] | None
    ) -> Float[Tensor, "B R C D"]:
        """Apply the block to windows shifted by ``shift`` rows and columns. R and C are multiples of the window."""
        grid = (x.shape[1], x.shape[2])
        rolled = x.roll((-shift[0], -shift[1]), dims=(1, 2)) if any(shift) else x
        windows = window_partition(rolled, window).flatten(1, 2)
        windows = self.attn(windows, window, closed).unflatten(1, window)
        seen = window_reverse(windows, window, grid)
        seen = seen.roll(shift, dims=(1, 2)) if any(shift) else seen
        # Under autocast a branch is bfloat16. Its norm is float32, like all norms.
        x = x + self.norm1(seen.float())
        return x + self.norm2(self.mlp(x).float())


class WindowBlocks(Stack):
    """A stack of window blocks, of which every second one is shifted.

    ``window`` and ``shift`` are in rows and columns. Audio-MAE shifts by (2, 0), along time only. An axis that is not
    longer than the window is one window and is not shifted. Other axes are padded to whole windows. Raises ValueError
    for a shift outside [0, window).
    """

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        window: Pair = (4, 4),
        shift: Pair = (2, 0),
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        bias_dropout: float = 0.1,
    ) -> None:
        if not all(0 <= s < w for s, w in zip(shift, window, strict=True)):
            raise ValueError(f"shift must lie in [0, window) along each axis, got shift {shift} of window {window}")
        self.window, self.shift = (window[0], window[1]), (shift[0], shift[1])
        super().__init__(
            WindowBlock(dim, heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps, bias_dropout=bias_dropout)
            for _ in range(depth)
        )

    def forward(
        self, x: Float[Tensor, "B N D"], grid: Pair, present: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B N D"]:
        """Apply every block to tokens in grid order. No token attends to cells that are not ``present``."""
        rows, columns = grid
        window = (min(self.window[0], rows), min(self.window[1], columns))
        shift = (self.shift[0] if rows > window[0] else 0, self.shift[1] if columns > window[1] else 0)
        padding = (-rows % window[0], -columns % window[1])
        x = x.view(x.shape[0], *grid, -1)
        if any(padding):
            present = x.new_ones(1, rows * columns, dtype=torch.bool) if present is None else present
            x = F.pad(x, (0, 0, 0, padding[1], 0, padding[0]))
        there = None if present is None else F.pad(present.view(-1, *grid), (0, padding[1], 0, padding[0]))
        closed = {each: closed_pairs((x.shape[1], x.shape[2]), window, each, x.device) for each in {(0, 0), shift}}
        if there is not None:
            closed = {each: _with_absent(there, window, each, pairs) for each, pairs in closed.items()}
        for number, block in enumerate(self):
            each = shift if number % 2 else (0, 0)
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, window, each, closed[each], use_reentrant=False)
            else:
                x = block(x, window, each, closed[each])
        return x[:, :rows, :columns].flatten(1, 2)


@cached
def log_distances(window: Pair, device: torch.device) -> Float[Tensor, "LL 2"]:
    """Return ``sign(d) log(1 + |d|)`` of rows and columns between all cells of a window. Swin V2, equation 4."""
    axes = [torch.arange(length, dtype=torch.float32, device=device) for length in window]
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 2)
    apart = (places[:, None] - places[None, :]).view(-1, 2)
    return apart.sign() * apart.abs().log1p()


@cached
def closed_pairs(grid: Pair, window: Pair, shift: Pair, device: torch.device) -> Float[Tensor, "1 M L L"] | None:
    """Return the mask for scores between cells from opposite edges of a shifted grid; None without shift."""
    if not any(shift):
        return None
    parts = torch.zeros(grid, device=device)
    for axis, step in enumerate(shift):
        if step:
            wrapped = torch.arange(grid[axis], device=device) >= grid[axis] - step
            parts += 2**axis * wrapped.view([-1, 1] if axis == 0 else [1, -1])
    parts = window_partition(parts[None, ..., None], window).flatten(1)
    return ((parts[:, :, None] != parts[:, None, :]) * SEAM)[None]


def _with_absent(
    there: Bool[Tensor, "B|1 R C"], window: Pair, shift: Pair, pairs: Float[Tensor, "1 M L L"] | None
) -> Float[Tensor, "B|1 M L L"]:
    """Add the mask that excludes absent cells."""
    rolled = there.roll((-shift[0], -shift[1]), dims=(1, 2)).float()[..., None]
    keys = window_partition(rolled, window).flatten(1).unflatten(0, (len(there), -1))
    absent = (1 - keys)[:, :, None, :] * ABSENT
    return absent if pairs is None else pairs + absent
