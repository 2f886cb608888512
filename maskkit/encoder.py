"""Encoders embed contents, add positions and transform: ``(tokens, mask | None) -> Latent``.

There are two kinds. Sparse: only visible tokens enter (MAE, arXiv:2111.06377, section 3). Dense: all tokens enter, and
hidden ones are replaced by a learned mask token (SimMIM, arXiv:2111.09886, section 3.2; BEiT).
"""

from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.kernels.linear import Linear
from maskkit.layers import Blocks
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, put, take


class Encoder(Protocol):
    """Encodes tokens: (tokens, mask) -> Latent. ``dim`` is the width of the latents."""

    dim: int

    def __call__(self, tokens: Tokens, mask: Mask | None = None) -> Latent:
        """Encode the tokens under a mask, or all tokens if ``mask`` is None."""


class _Transformer(nn.Module):
    """The common base of both kinds: a vision transformer with prefix tokens.

    ``content`` is the width of ``Tokens.x``. ``embed`` maps contents [B N content] to vectors [B N dim]; by default it
    is one linear layer. ``pos_every_block`` adds the positions before every block and not to the embedding (Point-MAE;
    docs/official.md P1). ``prefix_tokens`` is the number of class and register tokens, which have no coordinates and
    therefore no position vector (MAE's table holds a row of zeros for its class token). ``final_norm=False`` omits the
    last norm (as transformers' VideoMAE does when it pools by the mean). ``keep`` holds numbers of blocks after which
    the tokens are returned as ``Latent.levels``, before the final norm; 0 is the input of the first block. Raises
    ValueError for arguments that do not fit each other.
    """

    has_mask_token: ClassVar[bool]

    def __init__(
        self,
        *,
        content: int,
        dim: int,
        depth: int,
        heads: int,
        positions: nn.Module,
        prefix_tokens: int = 1,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        final_norm: bool = True,
        embed: nn.Module | None = None,
        pos_every_block: bool = False,
        embed_hidden: bool = False,
        keep: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        if embed_hidden and self.has_mask_token:
            raise ValueError(
                "embed_hidden is for sparse encoders; a dense encoder replaces hidden contents by a mask token"
            )
        self.embed_hidden = embed_hidden
        self.dim = dim
        self.embed = Linear(content, dim) if embed is None else embed
        self.positions = positions
        self.pos_every_block = pos_every_block
        self.prefix = nn.Parameter(torch.empty(1, prefix_tokens, dim).normal_(std=0.02))
        self.prefix.requires_grad_(prefix_tokens > 0)  # FSDP cannot reduce a gradient without elements
        if self.has_mask_token:
            self.mask_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        self.blocks = Blocks(
            dim=dim,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            drop_path=drop_path,
            keep=keep,
        )
        self.norm = LayerNorm(dim, eps=norm_eps) if final_norm else nn.Identity()

    def transform(
        self, x: Float[Tensor, "B N D"], pos: Float[Tensor, "B|1 N D"], valid: Bool[Tensor, "B N"] | None
    ) -> Latent:
        """Prepend the prefix tokens, run the blocks, and split the prefix off again.

        Indices never count prefix tokens.
        """
        num_prefix = self.prefix.shape[1]
        again = F.pad(pos, (0, 0, num_prefix, 0)) if self.pos_every_block else None  # prefix tokens have no position
        x = x if self.pos_every_block else x + pos
        prefix = self.prefix.expand(x.shape[0], -1, -1)
        everything = None if valid is None else torch.cat([valid.new_ones(x.shape[0], num_prefix), valid], dim=1)
        levels: list[Tensor] = []
        x = self.norm(self.blocks(torch.cat([prefix.to(x.dtype), x], dim=1), everything, again, levels))
        return Latent(tokens=x[:, num_prefix:], prefix=x[:, :num_prefix], valid=valid, levels=tuple(levels))


@part
class SparseEncoder(_Transformer):
    """A plain vision transformer on the visible tokens only.

    ``embed_hidden=True`` calls ``embed(x, visible)`` with all tokens and the indices of those to return. Point-MAE
    needs it: in training, its batch normalisation takes its statistics from hidden tokens as well, so a little
    information about them leaks (docs/official.md P2).
    """

    has_mask_token = False

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Latent:
        """Encode the visible tokens [B V D], in the order of ``mask.visible``, or all tokens [B N D] without a mask."""
        x, pos, valid = tokens.x, self.positions(tokens), tokens.valid
        if mask is None:
            return self.transform(self.embed(x), pos, valid)
        seen = self.embed(x, mask.visible) if self.embed_hidden else self.embed(take(x, mask.visible))
        return self.transform(seen, take(pos, mask.visible), None)  # visible tokens are never padding


@part
class DenseEncoder(_Transformer):
    """A plain vision transformer on all tokens. Tokens that are not visible are replaced by a mask token.

    ``Latent.tokens`` [B N D] holds all tokens, in their own order.
    """

    has_mask_token = True

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Latent:
        """Encode all tokens. Contents of tokens that are not visible are never read, so nothing can leak."""
        if mask is None:
            x = self.embed(tokens.x)
        else:
            seen = self.embed(take(tokens.x, mask.visible))
            x = put(self.mask_token.expand(*tokens.shape, -1), mask.visible, seen)
        return self.transform(x, self.positions(tokens), tokens.valid)
