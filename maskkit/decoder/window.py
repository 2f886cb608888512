"""A decoder of window attention over the whole grid."""

import torch
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.decoder.protocol import is_dense, refuse_blocks
from maskkit.kernels.linear import Linear
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, put, take
from maskkit.windows import WindowBlocks


@part
class WindowDecoder(nn.Module):
    """Window attention over the grid, with mask tokens for hidden tokens. Audio-MAE (arXiv:2207.06405), section 3.3.

    Prefix tokens have no cell in a grid and are left out: the authors drop the class token after the positions are
    added (docs/official.md A4). No token attends to tokens that are neither visible nor hidden. The final norm and the
    head run on hidden tokens only. Raises ValueError for tokens that fill no grid of two axes, or a dense encoder.
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
        """Return predictions in the order of ``mask.hidden``."""
        if tokens.grid is None or len(tokens.grid) != 2:
            raise ValueError(f"windows need tokens on a grid of two axes, got grid {tokens.grid}; use JointDecoder")
        if is_dense(latent, tokens, mask):
            raise ValueError("WindowDecoder takes the latents of visible tokens only; pair it with SparseEncoder")
        refuse_blocks(mask, "WindowDecoder")
        x = put(self.mask_token.expand(*tokens.shape, -1), mask.visible, self.project(latent.tokens))
        x = self.blocks(x + self.positions(tokens), (tokens.grid[0], tokens.grid[1]), _present(tokens, mask))
        return self.head(self.norm(take(x, mask.hidden)))


def _present(tokens: Tokens, mask: Mask) -> Bool[Tensor, "B N"] | None:
    """Return which tokens are visible or hidden [B N]; None if all are."""
    if mask.visible.shape[1] + mask.hidden.shape[1] == tokens.shape[1]:
        return None
    nothing = torch.zeros(tokens.shape, dtype=torch.bool, device=mask.visible.device)
    return nothing.scatter(1, mask.visible, True).scatter(1, mask.hidden, True)
