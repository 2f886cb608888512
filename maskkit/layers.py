"""The transformer block everyone shares, and how weights start.

Borrowed: Block, DropPath and LayerNorm are timm's; what multiplies inside is ours (``kernels/attention.py``,
``kernels/linear.py``), under timm's parameter names, so timm's checkpoints fit as they are.
"""

import functools
import math
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maskkit.kernels.attention import attention
from maskkit.kernels.linear import Linear, linear

M = TypeVar("M", bound=nn.Module)


class Attention(nn.Module):
    """Multi-head self-attention with timm's parameter names (``qkv``, ``proj``). Vaswani et al. 2017, section 3.2.2."""

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True, **_: object) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.qkv = Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "B N D"], attn_mask: Bool[Tensor, "B N"] | None = None, is_causal: bool = False
    ) -> Float[Tensor, "B N D"]:
        """Attend among all tokens. ``attn_mask`` is False for keys that are padding."""
        assert not is_causal
        batch, length, dim = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.num_heads, dim // self.num_heads).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v, attn_mask).transpose(1, 2).reshape(batch, length, dim))


class Mlp(nn.Module):
    """Two linear layers around a GELU, with timm's parameter names (``fc1``, ``fc2``). Dosovitskiy et al. 2020, 3.1."""

    def __init__(self, in_features: int, hidden_features: int, **_: object) -> None:
        super().__init__()
        self.fc1 = Linear(in_features, hidden_features)
        self.fc2 = Linear(hidden_features, in_features)

    def forward(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Widen, bend, narrow."""
        return linear(self.fc1(x), self.fc2.weight, self.fc2.bias, gelu=True)


class Blocks(nn.ModuleList):
    """A stack of pre-norm transformer blocks; stochastic depth grows linearly from 0 to ``drop_path``.

    With ``recompute`` a block keeps only its input, and computes itself again in the backward pass: less memory, more
    time. Under autocast the residual stream stays float32, because positions enter it as float32, and so do the norms.
    """

    recompute = False  # engine/distributed.py turns it on

    def __init__(
        self,
        *,
        dim: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        super().__init__(
            Block(
                dim,
                heads,
                mlp_ratio=mlp_ratio,
                qkv_bias=qkv_bias,
                drop_path=rate,
                norm_layer=functools.partial(LayerNorm, eps=norm_eps),
                attn_layer=Attention,
                mlp_layer=Mlp,
            )
            for rate in rates
        )

    def forward(
        self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None = None, again: Tensor | None = None
    ) -> Float[Tensor, "B N D"]:
        """Apply every block. ``again`` is added before each of them (Point-MAE's positions)."""
        for block in self:
            x = x if again is None else x + again
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, attn_mask=valid, use_reentrant=False)
            else:
                x = block(x, attn_mask=valid)
        return x


@torch.no_grad()
def start_as_mae(module: M) -> M:
    """Start the weights of an encoder or decoder as ``models_mae.py`` does (docs/official.md M4, M5); returns it.

    Every Linear is Xavier uniform with zero bias, class and mask tokens are normal with standard deviation 0.02.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    embed = getattr(module, "embed", None)
    if isinstance(embed, nn.Linear):
        # The authors' patch embedding is a Conv2d, whose weight they start like a Linear's but whose bias they leave.
        bound = 1 / math.sqrt(embed.in_features)
        nn.init.uniform_(embed.bias, -bound, bound)
    for name, token in module.named_parameters():
        if name in ("prefix", "mask_token"):
            nn.init.normal_(token, std=0.02)
    return module
