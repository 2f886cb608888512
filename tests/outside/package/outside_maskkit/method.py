"""A method in one file: it runs on every modality."""

from dataclasses import dataclass
from typing import ClassVar

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.losses import L1
from maskkit.maskers import make
from maskkit.modality import InputSpec
from maskkit.model import MaskedModel
from maskkit.optim import AdamW
from outside_maskkit.target import Mean


@dataclass(frozen=True, kw_only=True)
class OutsideMethod:
    """A method from outside: it predicts the means of hidden stretches."""

    name: ClassVar[str] = "outside-method"

    dim: int = 32
    """Width of the encoder."""
    mask_ratio: float = 0.5
    """Share of hidden tokens."""

    def build(self, inputs: InputSpec) -> MaskedModel:
        """Return the model, freshly started."""
        width = inputs.tokenizer.width
        shape = {"dim": self.dim, "depth": 2, "heads": 2, "positions": inputs.positions(self.dim)}
        return MaskedModel(
            tokenizer=inputs.tokenizer,
            masker=make("outside-masker", ratio=self.mask_ratio),
            encoder=SparseEncoder(content=width, embed=inputs.embed(self.dim), **shape),
            decoder=JointDecoder(latent=self.dim, output=1, **{**shape, "positions": inputs.positions(self.dim)}),
            target=Mean(),
            loss=L1(),
        )

    def optim(self, batch: int) -> AdamW:
        """Return the optimiser's settings."""
        return AdamW(lr=1e-3)
