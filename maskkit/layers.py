"""Transformer blocks, and the initialisation of weights.

Block, DropPath and LayerNorm are timm's. Attention and linear layers are ours (``kernels/attention.py``,
``kernels/linear.py``), with timm's parameter names, so timm's checkpoints fit without renaming.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol, TypeVar, overload, runtime_checkable

import torch
from jaxtyping import Bool, Float
from timm.layers import DropPath, LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from maskkit.kernels.attention import attention
from maskkit.kernels.linear import Linear, linear

M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class BlockStack(Protocol):
    """A stack of blocks. Each block is compiled, recomputed and sharded as a unit (``engine/distributed.py``).

    With ``recompute`` True, only the input of each block is kept, and the block is recomputed in the backward pass.
    """

    recompute: bool

    def __iter__(self) -> Iterator[nn.Module]:
        """Yield the blocks from first to last."""


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
        """Return self-attention over all tokens. ``attn_mask`` is False for keys that are padding."""
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
        """Apply both layers to the last axis."""
        return linear(self.fc1(x), self.fc2.weight, self.fc2.bias, gelu=True)


class CrossAttention(nn.Module):
    """Multi-head attention of queries to a context of another width. Vaswani et al. 2017, section 3.2.2."""

    def __init__(self, dim: int, context: int, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.q = Linear(dim, dim, bias=qkv_bias)
        self.kv = Linear(context, 2 * dim, bias=qkv_bias)
        self.proj = Linear(dim, dim)

    def forward(
        self, x: Float[Tensor, "B K D"], context: Float[Tensor, "B N C"], valid: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Return cross-attention to the context.

        Queries do not see each other. ``valid`` is False for padding of the context.
        """
        batch, count, dim = x.shape
        q = self.q(x).view(batch, count, self.num_heads, -1).transpose(1, 2)
        k, v = self.kv(context).view(batch, context.shape[1], 2, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        return self.proj(attention(q, k, v, valid).transpose(1, 2).reshape(batch, count, dim))


class CrossBlock(nn.Module):
    """A pre-norm block of cross-attention and an MLP, without self-attention.

    CrossMAE (arXiv:2401.14391), section 3.3.
    """

    def __init__(
        self, dim: int, context: int, heads: int, *, mlp_ratio: float, qkv_bias: bool, norm_eps: float, drop_path: float
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(dim, eps=norm_eps)
        self.attn = CrossAttention(dim, context, heads, qkv_bias)
        self.norm2 = LayerNorm(dim, eps=norm_eps)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(
        self, x: Float[Tensor, "B K D"], context: Float[Tensor, "B N C"], valid: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B K D"]:
        """Apply cross-attention to the context, then the MLP to each query."""
        x = x + self.drop_path(self.attn(self.norm1(x), context, valid))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stack(nn.ModuleList):
    """The common base of stacks of blocks (a ``BlockStack``)."""

    recompute = False  # set by engine/distributed.py

    @overload
    def __getitem__(self, idx: slice) -> nn.ModuleList: ...
    @overload
    def __getitem__(self, idx: int) -> nn.Module: ...
    def __getitem__(self, idx: int | slice) -> nn.Module | nn.ModuleList:
        """Return a block, or a plain list for a slice. torch would build a stack without the settings of this one."""
        chosen = list(self)[idx]
        return nn.ModuleList(chosen) if isinstance(chosen, list) else chosen


def check_names(names: Iterable[str], what: str) -> None:
    """Raise ValueError for names that cannot be those of modules inside a module, or keys of a description."""
    for name in names:
        if not name.isidentifier() or name == "part" or hasattr(nn.ModuleDict, name):
            raise ValueError(f"{what} cannot be called {name!r}; choose another word of letters, digits and _")


class CrossBlocks(Stack):
    """A stack of ``CrossBlock`` modules (a ``BlockStack``). Each block has its own context, or all share one."""

    def __init__(
        self,
        *,
        dim: int,
        context: int,
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        super().__init__(
            CrossBlock(dim, context, heads, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, norm_eps=norm_eps, drop_path=rate)
            for rate in rates
        )

    def forward(
        self,
        x: Float[Tensor, "B K D"],
        contexts: Sequence[Float[Tensor, "B N C"]],
        valid: Bool[Tensor, "B N"] | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Apply every block to queries ``x``.

        ``contexts`` holds one context per block, or one for all. Raises ValueError.
        """
        if len(contexts) not in (1, len(self)):
            raise ValueError(f"{len(self)} blocks need 1 or {len(self)} contexts, got {len(contexts)}")
        for number, block in enumerate(self):
            context = contexts[number % len(contexts)]
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, context, valid, use_reentrant=False)
            else:
                x = block(x, context, valid)
        return x


class Blocks(Stack):
    """A stack of pre-norm transformer blocks (a ``BlockStack``). Stochastic depth grows linearly up to ``drop_path``.

    With ``recompute`` only the input of a block is kept, and the block is recomputed in the backward pass, which takes
    less memory and more time. ``keep`` holds numbers of blocks in ascending order, after which ``forward`` appends the
    tokens to ``levels``: 0 is the input of the first block, ``depth`` the output of the last. Under autocast the
    residual stream and the norms stay float32, because positions enter as float32. Raises ValueError for other numbers.
    """

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
        keep: tuple[int, ...] = (),
    ) -> None:
        if not all(0 <= number <= depth for number in keep) or sorted(set(keep)) != list(keep):
            raise ValueError(f"keep must hold numbers of blocks from 0 to {depth} in ascending order, got {keep}")
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
        self.keep = tuple(keep)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        valid: Bool[Tensor, "B N"] | None = None,
        again: Float[Tensor, "B|1 N D"] | None = None,
        levels: list[Float[Tensor, "B N D"]] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """Apply every block. ``again`` is added before each block (Point-MAE's positions).

        The tokens after the numbers of blocks in ``keep`` are appended to ``levels``.
        """
        if levels is not None and 0 in self.keep:
            levels.append(x)
        for number, block in enumerate(self, start=1):
            x = x if again is None else x + again
            if self.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, attn_mask=valid, use_reentrant=False)
            else:
                x = block(x, attn_mask=valid)
            if levels is not None and number in self.keep:
                levels.append(x)
        return x


@torch.no_grad()
def init_mae_weights(module: M) -> M:
    """Initialise an encoder or decoder as ``models_mae.py`` does (docs/official.md M4, M5), in place, and return it.

    Every Linear is Xavier uniform with zero bias, class and mask tokens are normal with standard deviation 0.02.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    embed = getattr(module, "embed", None)
    if isinstance(embed, nn.Linear):
        # The authors' patch embedding is a Conv2d. They initialise its weight like a Linear's and leave its bias.
        bound = 1 / math.sqrt(embed.in_features)
        nn.init.uniform_(embed.bias, -bound, bound)
    for name, token in module.named_parameters():
        if name in ("prefix", "mask_token"):
            nn.init.normal_(token, std=0.02)
    return module


start_as_mae = init_mae_weights  # the name before 0.2
