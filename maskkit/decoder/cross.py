"""A decoder of cross-attention from hidden tokens to latents."""

import torch
from jaxtyping import Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.decoder.protocol import visible_latents
from maskkit.kernels.linear import Linear
from maskkit.layers import CrossBlocks
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, take


@part
class CrossDecoder(nn.Module):
    """Queries of hidden tokens attend to the latents and not to each other. CrossMAE (arXiv:2401.14391), section 3.

    A query is the mask token plus its position vector. A prediction therefore depends neither on the other tokens that
    are predicted nor on their blocks. Keys and values are the prefix tokens and the visible latents.

    ``levels`` is the number of levels that the encoder keeps (its ``keep``). Each decoder block reads its own weighted
    sum of these levels, normalised (section 3.4). With 0 it reads the latents alone. Raises ValueError if the encoder
    keeps another number of levels, or is not sparse.
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
        # A Linear without bias, as in the authors' code, so that it is initialised with all other Linear layers.
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
        """Return predictions [B K T] in the order of ``mask.hidden``."""
        if not mask.visible.shape[1] + (latent.prefix.shape[1] if self.keep_prefix else 0):
            raise ValueError("CrossDecoder needs a visible or a prefix token to attend to, and the mask shows none")
        query = self.mask_token + take(self.positions(tokens), mask.hidden)
        x = self.blocks(query, self._contexts(latent, tokens, mask))
        return self.head(self.norm(x))

    def _contexts(self, latent: Latent, tokens: Tokens, mask: Mask) -> list[Float[Tensor, "B R+V D"]]:
        """Return the contexts of the blocks: one for all blocks, or one mixture of levels per block."""
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
