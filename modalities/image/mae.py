"""MAE (arXiv:2111.06377) on images, with every quirk of the authors' code (``models_mae.py``; docs/official.md).

Settings are those of ``main_pretrain.py``. Sizes below base are not published: small is ViT-S with the authors'
decoder, tiny is ours.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.layers import init_mae_weights
from maskkit.maskers import Uniform
from maskkit.methods.sizes import Size
from maskkit.modalities.image.inputs import Inputs, Pair, patches
from maskkit.model import MaskedModel, check_parts
from maskkit.optim import AdamW, scaled_lr
from maskkit.positions import SinCos
from maskkit.ranges import Share
from maskkit.targets import Contents, NormalizedContents

# Width, depth and heads of the encoder, then of the decoder. Base, large and huge are MAE's (table 8, models_mae.py).
SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((192, 12, 3), (128, 4, 4)),
    "small": ((384, 12, 6), (512, 8, 16)),
    "base": ((768, 12, 12), (512, 8, 16)),
    "large": ((1024, 24, 16), (512, 8, 16)),
    "huge": ((1280, 32, 16), (512, 8, 16)),
}


def mae(
    size: Size = "base",
    *,
    image_size: Pair = 224,
    patch_size: Pair | None = None,
    channels: int = 3,
    norm_target: bool = True,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    mask_ratio: float = 0.75,
    **parts: Any,
) -> MaskedModel:
    """Build MAE (arXiv:2111.06377) as in the authors' ``models_mae.py``.

    ``image_size`` in pixels is one number or (height, width); the model accepts any other size that is divisible by the
    patch. ``patch_size`` defaults to 16, and to 14 for huge. ``norm_target`` normalises each target patch, as the
    released checkpoints do (the authors' flag is off by default; docs/official.md M6). ``mean`` and ``std`` normalise
    uint8 pixels, in [0, 1]. ``parts`` replaces any of tokenizer, masker, encoder, decoder, target, loss. Raises
    ValueError for an unknown size or part.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    (dim, depth, heads), (decoder_dim, decoder_depth, decoder_heads) = SIZES[size]
    patch = patch_size or (14 if size == "huge" else 16)
    check_parts("image.mae", parts)
    tokenizer = parts.pop("tokenizer", None) or patches(patch, channels, mean, std, image_size)
    columns_first = (1, 0)  # docs/official.md M2: the first half of the channels encodes the column
    if "encoder" not in parts:
        parts["encoder"] = init_mae_weights(
            SparseEncoder(
                content=tokenizer.width,
                dim=dim,
                depth=depth,
                heads=heads,
                positions=SinCos(dim=dim, axes=2, order=columns_first),
            )
        )
    if "decoder" not in parts:
        parts["decoder"] = init_mae_weights(
            JointDecoder(
                latent=parts["encoder"].dim,
                dim=decoder_dim,
                depth=decoder_depth,
                heads=decoder_heads,
                output=tokenizer.width,
                positions=SinCos(dim=decoder_dim, axes=2, order=columns_first),
            )
        )
    parts.setdefault("masker", Uniform(ratio=mask_ratio, rounding="keep"))
    parts.setdefault("target", NormalizedContents(epsilon="inside") if norm_target else Contents())
    return MaskedModel(tokenizer=tokenizer, **parts)


@dataclass(frozen=True, kw_only=True)
class MAE(Inputs):
    """MAE (arXiv:2111.06377): a sparse encoder sees the visible patches, a light decoder predicts the hidden ones."""

    name: ClassVar[str] = "mae"

    size: Size | None = None
    """Size of the encoder and its decoder. By default base on a GPU, tiny on a CPU."""
    norm_target: bool = True
    """Predict each patch normalised by its own mean and standard deviation. Otherwise predict plain pixels."""
    mask_ratio: Share = 0.75
    """Share of hidden patches, in (0, 1)."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        return mae(
            self.size or "base",
            image_size=self.image_size or 224,
            patch_size=self.patch_size,
            channels=self.channels or 3,
            norm_target=self.norm_target,
            mask_ratio=self.mask_ratio,
            mean=self.mean,
            std=self.std,
        )

    def optim(self, batch: int) -> AdamW:
        """Return the authors' optimiser: a rate of 1.5e-4 per 256 samples, and at least 5e-4 for small models."""
        least = 5e-4 if self.size in ("tiny", "small") else 0.0
        return AdamW(lr=max(least, scaled_lr(1.5e-4, batch)), betas=(0.9, 0.95), weight_decay=0.05)
