"""Decoders predict what is hidden: ``(latent, tokens, mask) -> prediction [B H T]``.

A decoder reads the places of ``tokens`` and never their contents; ``maskkit.testing`` holds every one of them to that.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.kernels.linear import Linear
from maskkit.layers import Blocks
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, put, take
from maskkit.windows import WindowBlocks


@part
class JointDecoder(nn.Module):
    """A small transformer over visible latents and mask tokens together. MAE (arXiv:2111.06377), section 3, "decoder".

    ``latent`` is the encoder's width, ``output`` T of the target. Tokens enter as prefix, visible, hidden: self-
    attention does not care for order, so MAE's unshuffling to grid order is left out. The final norm and the head run
    on hidden tokens only, since nothing reads the others (VideoMAE does so; MAE predicts all and drops the visible).

    ``keep_prefix`` lets the encoder's prefix through; ``prefix_tokens`` counts tokens of the decoder's own, in front
    (MAE-ST has one in place of the encoder's). ``project_bias=False`` is VideoMAE's (docs/official.md V3).
    ``final_norm_eps`` is that of the norm before the head, where it differs from ``norm_eps``.
    ``project=False`` takes latents as they are, and ``positions_again`` adds the positions before every block instead
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
        positions_again: bool = False,
    ) -> None:
        super().__init__()
        if not project and latent != dim:
            raise ValueError(f"latents of width {latent} need a projection to width {dim}; leave project=True")
        self.keep_prefix, self.positions_again = keep_prefix, positions_again
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
        pos = self.positions(tokens)
        pos = torch.cat([take(pos, mask.visible), take(pos, mask.hidden)], dim=1)
        seen = self.project(latent.tokens).to(self.mask_token.dtype)  # the residual stream is float32 (layers.Blocks)
        x = torch.cat([seen, self.mask_token.expand(*mask.hidden.shape, -1)], dim=1)
        prefix = [] if self.prefix is None else [self.prefix.expand(len(x), -1, -1)]
        if self.keep_prefix:
            prefix.append(self.project(latent.prefix).to(x.dtype))
        again = None
        if self.positions_again:
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
        if latent.tokens.shape[1] != mask.visible.shape[1]:
            raise ValueError("WindowDecoder takes the latents of visible tokens only; pair it with SparseEncoder")
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
class LinearDecoder(nn.Module):
    """One linear layer on the hidden tokens of a dense encoder. SimMIM (arXiv:2111.09886), section 3.3."""

    def __init__(self, *, latent: int, output: int) -> None:
        super().__init__()
        self.head = Linear(latent, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        if latent.tokens.shape[1] != tokens.shape[1]:
            raise ValueError("LinearDecoder needs the latents of all tokens; pair it with DenseEncoder")
        return self.head(take(latent.tokens, mask.hidden))
