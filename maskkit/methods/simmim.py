"""SimMIM: all tokens enter the encoder, hidden ones as a mask token, and one linear layer predicts their contents.

Xie et al. 2021, "SimMIM: a Simple Framework for Masked Image Modeling" (arXiv:2111.09886); settings as the authors'
code has them (microsoft/SimMIM, ``config.py`` and ``models/simmim.py``).

Deviations: the encoder is a plain vision transformer with the modality's own positions, where the authors' ViT has a
shared relative bias and LayerScale and no absolute positions; the loss is the mean over hidden tokens of the batch,
which equals theirs but for the 1e-5 that they add to the number of hidden pixels; the rate falls by a cosine, where
theirs is divided by ten at epoch 700 of 800. On point clouds the loss is the modality's, since the points of a group
have no order.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from maskkit.decoder import LinearDecoder
from maskkit.encoder import DenseEncoder
from maskkit.losses import L1
from maskkit.maskers import Masker, UnitMasker
from maskkit.methods.sizes import Size, vit
from maskkit.modality import InputSpec
from maskkit.model import MaskedModel
from maskkit.optim import AdamW


@dataclass(frozen=True, kw_only=True)
class SimMIM:
    """SimMIM (arXiv:2111.09886): a mask token in the encoder, a linear head, L1 on plain contents."""

    name: ClassVar[str] = "simmim"

    size: Size | None = None
    """Size of the encoder."""
    mask_ratio: float = 0.6
    """Share of hidden units."""
    unit: int = 2
    """Tokens along each axis of what is hidden at once; the paper hides 32-pixel units of 16-pixel patches."""
    drop_path: float = 0.1
    """Largest rate of stochastic depth."""

    def build(self, inputs: InputSpec) -> MaskedModel:
        """Return the model, freshly started."""
        size = vit(self.size)
        encoder = DenseEncoder(
            content=inputs.tokenizer.width,
            dim=size.dim,
            depth=size.depth,
            heads=size.heads,
            positions=inputs.positions(size.dim),
            embed=inputs.embed(size.dim),
            prefix_tokens=inputs.prefix_tokens,
            drop_path=self.drop_path,
        )
        model = MaskedModel(
            tokenizer=inputs.tokenizer,
            masker=self.masker(inputs),
            encoder=encoder,
            decoder=LinearDecoder(latent=size.dim, output=inputs.output),
            target=inputs.target(),
            loss=L1() if inputs.loss is None else inputs.loss,
        )
        init_simmim_weights(encoder)
        return model

    def masker(self, inputs: InputSpec) -> Masker:
        """Return the masker: units of a grid, or the modality's own where tokens fill none."""
        if inputs.grid is None:
            return inputs.masker(self.mask_ratio)
        # An axis that whole units do not fill, or that has only one of them, is hidden token by token.
        units = (self.unit if length % self.unit == 0 and length > self.unit else 1 for length in inputs.grid)
        return UnitMasker(unit=tuple(units), ratio=self.mask_ratio)

    def optim(self, batch: int) -> AdamW:
        """Return the authors' optimiser: 1e-4 per 512 samples. Small models train at 5e-4 at least."""
        least = 5e-4 if self.size in ("tiny", "small") else 0.0
        return AdamW(lr=max(least, 1e-4 * batch / 512), betas=(0.9, 0.999), weight_decay=0.05)


@torch.no_grad()
def init_simmim_weights(encoder: nn.Module) -> None:
    """Start every Linear of an encoder as ``models/simmim.py`` does: normal, cut at one deviation of 0.02."""
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.02, b=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name, token in encoder.named_parameters():
        if name in ("prefix", "mask_token"):
            nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)
