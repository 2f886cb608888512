"""Published image methods, each a choice of parts."""

from typing import Any, Literal

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.layers import init_mae_weights
from maskkit.maskers import Uniform
from maskkit.model import MaskedModel, check_parts
from maskkit.positions import SinCos
from maskkit.targets import Contents, NormalizedContents
from maskkit.tokenizers import Patches

Size = Literal["tiny", "small", "base", "large", "huge"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

# width, depth, heads of the encoder; width, depth, heads of the decoder. Base, large and huge are MAE's (table 8 and
# models_mae.py). The authors publish no smaller ones: small is ViT-S with their decoder, tiny is ours.
SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((192, 12, 3), (128, 4, 4)),
    "small": ((384, 12, 6), (512, 8, 16)),
    "base": ((768, 12, 12), (512, 8, 16)),
    "large": ((1024, 24, 16), (512, 8, 16)),
    "huge": ((1280, 32, 16), (512, 8, 16)),
}


def patches(
    patch_size: int | tuple[int, int],
    channels: int = 3,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> Patches:
    """Return the tokenizer of images ``[B C H W]``. Three channels default to ImageNet's statistics, others to 0.5."""
    default = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    return Patches(
        size=_pair(patch_size),
        channels=channels,
        mean=mean or default[0],
        std=std or default[1],
        names=("height", "width"),
        input_size=None if image_size is None else _pair(image_size),
    )


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of a size that may be one number."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def mae(
    size: Size = "base",
    *,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | tuple[int, int] | None = None,
    channels: int = 3,
    norm_target: bool = True,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    mask_ratio: float = 0.75,
    **parts: Any,
) -> MaskedModel:
    """MAE (arXiv:2111.06377) as ``models_mae.py`` has it.

    ``image_size`` in pixels is one number or (height, width); the model takes any other size that the patch divides.
    ``patch_size`` defaults to 16, and to 14 for huge. ``norm_target`` normalises each target patch, as the released
    checkpoints do (the authors' flag is off by default; docs/official.md M6). ``mean`` and ``std`` normalise uint8
    pixels, in [0, 1]. ``parts`` replace any of tokenizer, masker, encoder, decoder, target, loss.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    (dim, depth, heads), (decoder_dim, decoder_depth, decoder_heads) = SIZES[size]
    patch = patch_size or (14 if size == "huge" else 16)
    check_parts("image.mae", parts)
    tokenizer = parts.pop("tokenizer", None) or patches(patch, channels, mean, std, image_size)
    columns_first = (1, 0)  # docs/official.md M2: the first half of the width encodes the column
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
