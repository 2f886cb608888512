"""Decoders predict what is hidden: ``(latent, tokens, mask) -> prediction [B H T]``.

A decoder reads the places of ``tokens`` and never their contents; ``maskkit.testing`` holds every one of them to that.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.layers import Blocks
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, take


@part
class JointDecoder(nn.Module):
    """A small transformer over visible latents and mask tokens together. MAE (arXiv:2111.06377), section 3, "decoder".

    ``latent`` is the encoder's width, ``output`` T of the target. Tokens enter as prefix, visible, hidden: self-
    attention does not care for order, so MAE's unshuffling to grid order is left out. The final norm and the head run
    on hidden tokens only, since nothing reads the others (VideoMAE does so; MAE predicts all and drops the visible).
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
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        norm_eps: float = 1e-6,
        drop_path: float = 0.0,
        project: bool = True,
        positions_again: bool = False,
    ) -> None:
        super().__init__()
        if not project and latent != dim:
            raise ValueError(f"latents of width {latent} need a projection to width {dim}; leave project=True")
        self.keep_prefix, self.positions_again = keep_prefix, positions_again
        self.project = nn.Linear(latent, dim) if project else nn.Identity()
        self.positions = positions
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        self.blocks = Blocks(
            dim=dim,
            depth=depth,
            heads=heads,
            mlp_ratio=mlp_ratio,
            qkv_bias=qkv_bias,
            norm_eps=norm_eps,
            drop_path=drop_path,
        )
        self.norm = LayerNorm(dim, eps=norm_eps)
        self.head = nn.Linear(dim, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        pos = self.positions(tokens)
        pos = torch.cat([take(pos, mask.visible), take(pos, mask.hidden)], dim=1)
        seen = self.project(latent.tokens).to(self.mask_token.dtype)  # the residual stream is float32 (layers.Blocks)
        x = torch.cat([seen, self.mask_token.expand(*mask.hidden.shape, -1)], dim=1)
        prefix = [self.project(latent.prefix).to(x.dtype)] if self.keep_prefix else []
        again = None
        if self.positions_again:
            again = F.pad(pos, (0, 0, latent.prefix.shape[1] if self.keep_prefix else 0, 0))
        else:
            x = x + pos
        x = self.blocks(torch.cat([*prefix, x], dim=1), again=again)
        return self.head(self.norm(x[:, -mask.hidden.shape[1] :]))


@part
class LinearDecoder(nn.Module):
    """One linear layer on the hidden tokens of a dense encoder. SimMIM (arXiv:2111.09886), section 3.3."""

    def __init__(self, *, latent: int, output: int) -> None:
        super().__init__()
        self.head = nn.Linear(latent, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        if latent.tokens.shape[1] != tokens.shape[1]:
            raise ValueError("LinearDecoder needs the latents of all tokens; pair it with DenseEncoder")
        return self.head(take(latent.tokens, mask.hidden))
