"""SimMIM: all tokens enter the encoder, hidden ones as a mask token, and a linear layer predicts their contents.

Xie et al. 2021, "SimMIM: a Simple Framework for Masked Image Modeling" (arXiv:2111.09886); settings as the authors'
code has them (microsoft/SimMIM, ``config.py`` and ``models/simmim.py``).

Deviations: the encoder is a plain vision transformer with the modality's own positions, while the authors' ViT has a
shared relative bias, LayerScale and no absolute positions. The loss is the mean over hidden tokens of the batch, which
equals theirs except for the 1e-5 that they add to the number of hidden pixels. The learning rate falls by a cosine,
while theirs is divided by ten at epoch 700 of 800. On point clouds the loss is the modality's, because the points of a
group have no order.
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
from maskkit.ranges import Count, Decay, Share, check_ranges


@dataclass(frozen=True, kw_only=True)
class SimMIM:
    """SimMIM (arXiv:2111.09886): mask tokens enter the encoder; a linear head predicts plain contents (L1 loss)."""

    name: ClassVar[str] = "simmim"

    size: Size | None = None
    """Size of the encoder. By default tiny on a CPU, base or small (video, points) on a GPU."""
    mask_ratio: Share = 0.6
    """Share of hidden units, in (0, 1)."""
    unit: Count = 2
    """Tokens along each axis of a hidden unit. The paper hides units of 32 pixels, which are 2 patches of 16 pixels."""
    drop_path: Decay = 0.1
    """Rate of stochastic depth in the last block, in [0, 1). It grows linearly over the blocks."""

    def __post_init__(self) -> None:
        """Validate the settings. Raises ValueError."""
        check_ranges(self)

    def build(self, inputs: InputSpec) -> MaskedModel:
        """Return the model with newly initialised weights."""
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
        """Return the masker: units of a grid, or the modality's own masker if tokens fill no grid."""
        if inputs.grid is None:
            return inputs.masker(self.mask_ratio)
        # Along an axis that units do not fill, or that has only one unit, a unit is one token wide.
        units = (self.unit if length % self.unit == 0 and length > self.unit else 1 for length in inputs.grid)
        return UnitMasker(unit=tuple(units), ratio=self.mask_ratio)

    def optim(self, batch: int) -> AdamW:
        """Return the authors' optimiser: a rate of 1e-4 per 512 samples, and at least 5e-4 for small models."""
        least = 5e-4 if self.size in ("tiny", "small") else 0.0
        return AdamW(lr=max(least, 1e-4 * batch / 512), betas=(0.9, 0.999), weight_decay=0.05)


@torch.no_grad()
def init_simmim_weights(encoder: nn.Module) -> None:
    """Initialise every Linear of an encoder as ``models/simmim.py`` does: normal with deviation 0.02, cut at 0.02."""
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02, a=-0.02, b=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for name, token in encoder.named_parameters():
        if name in ("prefix", "mask_token"):
            nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)
