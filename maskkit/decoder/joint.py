"""A transformer decoder over visible latents and mask tokens together."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.decoder.protocol import is_dense, refuse_blocks
from maskkit.kernels.linear import Linear
from maskkit.layers import Blocks
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, take


@part
class JointDecoder(nn.Module):
    """A transformer over visible latents and mask tokens together. MAE (arXiv:2111.06377), section 3, "decoder".

    ``latent`` is the width of the encoder and ``output`` the width T of the target. Tokens enter in the order prefix,
    visible, hidden. Attention does not depend on the order, so MAE's unshuffling to grid order is omitted. The final
    norm and the head run on hidden tokens only, as in VideoMAE (MAE predicts all tokens and drops the visible ones).

    With a dense encoder, the latents of hidden tokens enter too; the mask token is added to mark them. Raises
    ValueError for hidden tokens that form several blocks; these need ``PerBlock``.

    ``keep_prefix`` passes the encoder's prefix tokens on. ``prefix_tokens`` is the number of the decoder's own prefix
    tokens (MAE-ST has one instead of the encoder's). ``project_bias=False`` is VideoMAE's (docs/official.md V3).
    ``final_norm_eps`` is the epsilon of the norm before the head, if it differs from ``norm_eps``. ``project=False``
    omits the projection of the latents, and ``pos_every_block`` adds the positions before every block instead of once
    (Point-MAE does both; docs/official.md P1, P3).
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
        """Return predictions in the order of ``mask.hidden``."""
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
            again = F.pad(pos, (0, 0, sum(part.shape[1] for part in prefix), 0))  # prefix tokens have no position
        else:
            x = x + pos
        x = torch.cat([*prefix, x], dim=1)
        x = self.blocks(x, _counting(mask, x.shape[1]), again)
        return self.head(self.norm(x[:, -mask.hidden.shape[1] :]))


def _counting(mask: Mask, length: int) -> Bool[Tensor, "B length"] | None:
    """Return which of the tokens count; None if all do. Hidden tokens, which come last, count if they have a weight."""
    if mask.weight is None:
        return None
    return F.pad(mask.weight > 0, (length - mask.weight.shape[1], 0), value=True)
