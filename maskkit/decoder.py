"""Decoders predict the tokens that ``mask.hidden`` names: ``(latent, tokens, mask) -> prediction [B K T]``.

Shapes: B samples, N tokens, V visible, K asked for, D width, T width of a target, R prefix tokens.

A decoder reads the coordinates of ``tokens`` and not their contents, unless ``reads_hidden`` says that it does;
``maskkit.testing`` holds every decoder to that.
"""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.kernels.linear import Linear
from maskkit.layers import Blocks, CrossBlocks
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, put, take
from maskkit.windows import WindowBlocks


class Decoder(Protocol):
    """Predicts: (latent, tokens, mask) -> [B K T], for the tokens that ``mask.hidden`` names, in their order.

    A decoder that needs more than these three writes ``*, step``. One that reads contents of hidden tokens (a noisy
    copy, say) has an attribute ``reads_hidden = True``.
    """

    def __call__(self, latent: Latent, tokens: Tokens, mask: Mask, *_: Any, **__: Any) -> Float[Tensor, "B K T"]:
        """Return one prediction a token asked for."""


def is_dense(latent: Latent, tokens: Tokens, mask: Mask) -> bool:
    """Say whether there is a latent for every token, and not for the visible ones alone."""
    count = latent.tokens.shape[1]
    if count not in (tokens.shape[1], mask.visible.shape[1]):
        raise ValueError(
            f"the encoder gives {count} latents for {tokens.shape[1]} tokens, {mask.visible.shape[1]} of them visible; "
            "this decoder needs one latent a visible token or one a token"
        )
    return count == tokens.shape[1] and count != mask.visible.shape[1]


def visible_latents(latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B V D"]:
    """Return the latents of the visible tokens, in the order of ``mask.visible``."""
    return take(latent.tokens, mask.visible) if is_dense(latent, tokens, mask) else latent.tokens


def refuse_blocks(mask: Mask, name: str) -> None:
    """Raise ValueError where hidden tokens form several blocks and a decoder would mix them."""
    if mask.blocks > 1:
        raise ValueError(
            f"{name} lets the {mask.blocks} target blocks of this mask see each other; wrap it in PerBlock"
        )


@part
class JointDecoder(nn.Module):
    """A small transformer over visible latents and mask tokens together. MAE (arXiv:2111.06377), section 3, "decoder".

    ``latent`` is the encoder's width, ``output`` T of the target. Tokens enter as prefix, visible, hidden: self-
    attention does not care for order, so MAE's unshuffling to grid order is left out. The final norm and the head run
    on hidden tokens only, since nothing reads the others (VideoMAE does so; MAE predicts all and drops the visible).

    Of a dense encoder's latents, those of hidden tokens enter too, plus the mask token, which marks them.
    Hidden tokens that form several blocks need ``PerBlock``.

    ``keep_prefix`` lets the encoder's prefix through; ``prefix_tokens`` counts tokens of the decoder's own, in front
    (MAE-ST has one in place of the encoder's). ``project_bias=False`` is VideoMAE's (docs/official.md V3).
    ``final_norm_eps`` is that of the norm before the head, where it differs from ``norm_eps``.
    ``project=False`` takes latents as they are, and ``pos_every_block`` adds the positions before every block instead
    of once (Point-MAE does both; docs/official.md P1, P3).
    """

    def __init__(
        self,
        *,
        latent: int,
        dim: int,
        depth: int,
        heads: int,
        output: int,
        positions: nn.Module,
        keep_prefix: bool = True,
        prefix_tokens: int = 0,
        project_bias: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        final_norm_eps: float | None = None,
        drop_path: float = 0.0,
        project: bool = True,
        pos_every_block: bool = False,
    ) -> None:
        super().__init__()
        if not project and latent != dim:
            raise ValueError(f"latents of width {latent} need a projection to width {dim}; leave project=True")
        self.keep_prefix, self.pos_every_block = keep_prefix, pos_every_block
        self.project = Linear(latent, dim, bias=project_bias) if project else nn.Identity()
        self.positions = positions
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        self.prefix = nn.Parameter(torch.empty(1, prefix_tokens, dim).normal_(std=0.02)) if prefix_tokens else None
        self.blocks = Blocks(
            dim=dim,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            drop_path=drop_path,
        )
        self.norm = LayerNorm(dim, eps=norm_eps if final_norm_eps is None else final_norm_eps)
        self.head = Linear(dim, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        refuse_blocks(mask, "JointDecoder")
        pos = self.positions(tokens)
        pos = torch.cat([take(pos, mask.visible), take(pos, mask.hidden)], dim=1)
        unseen = self.mask_token.expand(*mask.hidden.shape, -1)
        if is_dense(latent, tokens, mask):
            every = self.project(latent.tokens).to(self.mask_token.dtype)
            x = torch.cat([take(every, mask.visible), take(every, mask.hidden) + unseen], dim=1)
        else:  # the residual stream is float32 (layers.Blocks)
            x = torch.cat([self.project(latent.tokens).to(self.mask_token.dtype), unseen], dim=1)
        prefix = [] if self.prefix is None else [self.prefix.expand(x.shape[0], -1, -1)]
        if self.keep_prefix:
            prefix.append(self.project(latent.prefix).to(x.dtype))
        again = None
        if self.pos_every_block:
            again = F.pad(pos, (0, 0, sum(part.shape[1] for part in prefix), 0))  # the prefix has no place
        else:
            x = x + pos
        x = self.blocks(torch.cat([*prefix, x], dim=1), again=again)
        return self.head(self.norm(x[:, -mask.hidden.shape[1] :]))


@part
class WindowDecoder(nn.Module):
    """Window attention over the whole grid, mask tokens in hidden places. Audio-MAE (arXiv:2207.06405), section 3.3.

    Prefix tokens have no place in a grid and are left out: the authors drop the class token behind the positions
    (docs/official.md A4). Tokens that a mask leaves in neither set are attended by nobody. The final norm and the head
    run on hidden tokens only, since nothing reads the others.
    """

    def __init__(
        self,
        *,
        latent: int,
        dim: int,
        depth: int,
        heads: int,
        output: int,
        positions: nn.Module,
        window: tuple[int, int] = (4, 4),
        shift: tuple[int, int] = (2, 0),
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        bias_dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.project = Linear(latent, dim)
        self.positions = positions
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        self.blocks = WindowBlocks(
            dim=dim,
            depth=depth,
            heads=heads,
            window=window,
            shift=shift,
            mlp_ratio=mlp_ratio,
            norm_eps=norm_eps,
            bias_dropout=bias_dropout,
        )
        self.norm = LayerNorm(dim, eps=norm_eps)
        self.head = Linear(dim, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        if tokens.grid is None or len(tokens.grid) != 2:
            raise ValueError(f"windows need tokens on a grid of two axes, got grid {tokens.grid}; use JointDecoder")
        if is_dense(latent, tokens, mask):
            raise ValueError("WindowDecoder takes the latents of visible tokens only; pair it with SparseEncoder")
        refuse_blocks(mask, "WindowDecoder")
        x = put(self.mask_token.expand(*tokens.shape, -1), mask.visible, self.project(latent.tokens))
        x = self.blocks(x + self.positions(tokens), (tokens.grid[0], tokens.grid[1]), _present(tokens, mask))
        return self.head(self.norm(take(x, mask.hidden)))


def _present(tokens: Tokens, mask: Mask) -> Bool[Tensor, "B N"] | None:
    """Say which tokens are visible or hidden; None where all are."""
    if mask.visible.shape[1] + mask.hidden.shape[1] == tokens.shape[1]:
        return None
    nothing = torch.zeros(tokens.shape, dtype=torch.bool, device=mask.visible.device)
    return nothing.scatter(1, mask.visible, True).scatter(1, mask.hidden, True)


@part
class CrossDecoder(nn.Module):
    """Queries of hidden tokens attend to the latents, and not to each other. CrossMAE (arXiv:2401.14391), section 3.

    A query is the mask token plus positions, and nothing else; so a prediction does not depend on which other tokens
    are asked for, nor on their blocks. Keys and values are the prefix tokens and the visible latents.

    ``levels`` is the number of the encoder's levels (``keep`` of the encoder) that are mixed: every decoder block reads
    a weighted sum of its own of them, normalised (section 3.4). 0 reads the latents alone.
    """

    def __init__(
        self,
        *,
        latent: int,
        dim: int,
        depth: int,
        heads: int,
        output: int,
        positions: nn.Module,
        levels: int = 0,
        keep_prefix: bool = True,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.positions = positions
        self.keep_prefix = keep_prefix
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        # A layer without bias, as the authors': what starts all Linear layers of a model starts this one, too.
        self.mix = Linear(levels, depth, bias=False) if levels else None
        self.context_norms = nn.ModuleList(LayerNorm(latent, eps=norm_eps) for _ in range(depth if levels else 0))
        self.blocks = CrossBlocks(
            dim=dim,
            context=latent,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            drop_path=drop_path,
        )
        self.norm = LayerNorm(dim, eps=norm_eps)
        self.head = Linear(dim, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B K T"]:
        """Predict every token asked for, in the order of ``mask.hidden``."""
        query = self.mask_token + take(self.positions(tokens), mask.hidden)
        x = self.blocks(query, self._contexts(latent, tokens, mask))
        return self.head(self.norm(x))

    def _contexts(self, latent: Latent, tokens: Tokens, mask: Mask) -> list[Float[Tensor, "B R+V D"]]:
        """Return what the blocks attend to: one context for all, or a mixture of levels for each."""
        num_prefix = latent.prefix.shape[1]
        if self.mix is None:
            seen = visible_latents(latent, tokens, mask)
            return [torch.cat([latent.prefix, seen], dim=1) if self.keep_prefix and num_prefix else seen]
        if len(latent.levels) != self.mix.in_features:
            raise ValueError(
                f"the decoder mixes {self.mix.in_features} levels, the encoder keeps {len(latent.levels)}; "
                "give the encoder as many numbers in keep"
            )
        levels = torch.stack(latent.levels, dim=-1)  # [B R+V D levels]
        if levels.shape[1] != num_prefix + mask.visible.shape[1]:
            raise ValueError("levels are mixed for visible tokens only; pair CrossDecoder with SparseEncoder")
        mixed = self.mix(levels if self.keep_prefix else levels[:, num_prefix:])
        return [norm(each) for norm, each in zip(self.context_norms, mixed.unbind(dim=-1), strict=True)]


@part
class PerBlock(nn.Module):
    """Let another decoder predict each block of a mask on its own. I-JEPA (arXiv:2301.08243), section 3.

    A mask whose ``hidden`` is made of several blocks asks for each of them as if the others did not exist. All blocks
    are folded into the batch and predicted in one pass.
    """

    def __init__(self, *, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B K T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        if mask.blocks == 1:
            return self.decoder(latent, tokens, mask)
        blocks, hidden = mask.blocks, mask.hidden

        def repeated(x: Tensor) -> Tensor:
            return x.repeat_interleave(blocks, dim=0)

        latents = Latent(
            tokens=repeated(latent.tokens),
            prefix=repeated(latent.prefix),
            valid=None if latent.valid is None else repeated(latent.valid),
            levels=tuple(repeated(level) for level in latent.levels),
            grid=latent.grid,
        )
        places = tokens.replace(
            x=repeated(tokens.x),
            pos=tokens.pos if tokens.pos.shape[0] == 1 else repeated(tokens.pos),
            valid=None if tokens.valid is None else repeated(tokens.valid),
        )
        asked = Mask(visible=repeated(mask.visible), hidden=hidden.reshape(blocks * hidden.shape[0], -1))
        found = self.decoder(latents, places, asked)
        return found.reshape(*hidden.shape, found.shape[-1])


@part
class AtLevel(nn.Module):
    """Let another decoder read a level that the encoder kept instead of its output. LocalMIM (arXiv:2305.16820).

    ``level`` numbers the levels of ``keep``, from 0.
    """

    def __init__(self, *, decoder: Decoder, level: int) -> None:
        super().__init__()
        self.decoder, self.level = decoder, level

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B K T"]:
        """Predict every hidden token from the level."""
        if not 0 <= self.level < len(latent.levels):
            raise ValueError(f"the encoder keeps {len(latent.levels)} levels, so there is no level {self.level}")
        level, num_prefix = latent.levels[self.level], latent.prefix.shape[1]
        chosen = Latent(level[:, num_prefix:], level[:, :num_prefix], latent.valid, (), latent.grid)
        return self.decoder(chosen, tokens, mask)


@part
class LinearDecoder(nn.Module):
    """One linear layer on the latents of the tokens asked for. SimMIM (arXiv:2111.09886), section 3.3.

    It needs a dense encoder, unless the tokens asked for are the visible ones.
    """

    def __init__(self, *, latent: int, output: int) -> None:
        super().__init__()
        self.head = Linear(latent, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        if latent.tokens.shape[1] == tokens.shape[1]:
            return self.head(take(latent.tokens, mask.hidden))
        if mask.hidden is not mask.visible:
            raise ValueError("LinearDecoder needs the latents of all tokens; pair it with DenseEncoder")
        return self.head(latent.tokens)
