"""VideoMAE (arXiv:2203.12602), with every quirk of the authors' code (MCG-NJU/VideoMAE; docs/official.md)."""

from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.maskers import TubeMasker
from maskkit.methods.sizes import Size
from maskkit.modalities.video.inputs import Hide, Inputs, Pair, masker, patches
from maskkit.model import MaskedModel, check_parts
from maskkit.optim import AdamW, scaled_lr
from maskkit.positions import FlatSinCos
from maskkit.ranges import Share
from maskkit.targets import Contents, NormalizedContents
from maskkit.tokenizers import Patches

M = TypeVar("M", bound=nn.Module)

NO_DECAY = ("prefix", "mask_token")  # VideoMAE applies weight decay to neither (modeling_pretrain.py, no_weight_decay)

# Width, depth and heads of the encoder, then of the decoder. Small to huge are the authors'
# (modeling_pretrain.py for widths; the decoder's depth is a flag of scripts/kinetics/*/pretrain.sh, 4 up to base and 12
# above, where the class would default to 8). Tiny is ours.
SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((192, 12, 3), (96, 4, 3)),
    "small": ((384, 12, 6), (192, 4, 3)),
    "base": ((768, 12, 12), (384, 4, 6)),
    "large": ((1024, 24, 16), (512, 12, 8)),
    "huge": ((1280, 32, 16), (640, 12, 8)),
}


def videomae(
    size: Size = "base",
    *,
    frames: int = 16,
    image_size: Pair = 224,
    patch_size: Pair = 16,
    tubelet: int = 2,
    channels: int = 3,
    norm_target: bool = True,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    mask_ratio: float = 0.9,
    **parts: Any,
) -> MaskedModel:
    """Build VideoMAE (arXiv:2203.12602) as in the authors' ``modeling_pretrain.py`` and ``engine_for_pretraining.py``.

    ``frames`` and ``image_size`` (pixels, one number or (height, width)) are the nominal size; the model accepts any
    other size that is divisible by a tubelet. ``norm_target`` normalises each tubelet, channel by channel. ``mean`` and
    ``std`` normalise uint8 pixels, scaled to [0, 1]. ``parts`` replaces any of tokenizer, masker, encoder, decoder,
    target, loss. Raises ValueError for an unknown size or part.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    (dim, depth, heads), (decoder_dim, decoder_depth, decoder_heads) = SIZES[size]
    check_parts("video.videomae", parts)
    tokenizer = parts.pop("tokenizer", None) or patches(patch_size, tubelet, channels, mean, std, frames, image_size)
    if "encoder" not in parts:
        parts["encoder"] = init_videomae_weights(
            SparseEncoder(
                content=tokenizer.width,
                dim=dim,
                depth=depth,
                heads=heads,
                positions=FlatSinCos(dim=dim),  # V2
                prefix_tokens=0,  # no class token
            )
        )
    if "decoder" not in parts:
        parts["decoder"] = init_videomae_weights(
            JointDecoder(
                latent=parts["encoder"].dim,
                dim=decoder_dim,
                depth=decoder_depth,
                heads=decoder_heads,
                output=tokenizer.width,
                positions=FlatSinCos(dim=decoder_dim),
                keep_prefix=False,
                project_bias=False,  # V3
            )
        )
    parts.setdefault("masker", TubeMasker(ratio=mask_ratio, rounding="hide"))
    parts.setdefault("target", _target(tokenizer, norm_target))
    return MaskedModel(tokenizer=tokenizer, **parts)


def _target(tokenizer: Patches, norm_target: bool) -> Contents | NormalizedContents:
    """Return the target: pixels in [0, 1], not the normalised input; epsilon and channels as V8 says."""
    mean, std = _per_channel(tokenizer)
    if not norm_target:
        return Contents(mean=mean, std=std)
    return NormalizedContents(epsilon="outside", per_channel=True, channels=tokenizer.channels, mean=mean, std=std)


@torch.no_grad()
def init_videomae_weights(module: M) -> M:
    """Initialise an encoder or decoder as ``modeling_pretrain.py`` does (V1, V3, V4); returns it.

    Linear layers of blocks and head are Xavier uniform with zero bias. The patch embedding and the projection between
    encoder and decoder keep torch's default, uniform in 1 / sqrt(inputs): the authors' top module never calls its
    ``_init_weights``, and a Conv3d is none of the layers it knows.
    """
    untouched = {getattr(module, name, None) for name in ("embed", "project")}
    for layer in module.modules():
        if isinstance(layer, nn.Linear) and layer in untouched:
            layer.reset_parameters()
        elif isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    token = getattr(module, "mask_token", None)
    if isinstance(token, torch.Tensor):
        nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)  # V4: cut at one deviation
    return module


def _per_channel(tokenizer: Patches) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation, one number per channel."""
    mean, std = (values * (tokenizer.channels // len(values)) for values in (tokenizer.mean, tokenizer.std))
    return mean, std


@dataclass(frozen=True, kw_only=True)
class VideoMAE(Inputs):
    """VideoMAE (arXiv:2203.12602): the same patches are hidden in all frames (tubes), so no frame shows them."""

    name: ClassVar[str] = "videomae"

    size: Size | None = None
    """Size of the encoder and its decoder. By default small on a GPU, tiny on a CPU."""
    norm_target: bool = True
    """Predict each tubelet normalised by its own mean and standard deviation. Otherwise predict plain pixels."""
    mask: Hide = "preset"
    """Hide tubes (tube, the method's own), single tokens (uniform) or all tokens of a time step (frame)."""
    mask_ratio: Share = 0.9
    """Share of hidden tokens, in (0, 1)."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        chosen = masker(self.mask, self.mask_ratio)
        return videomae(
            self.size or "base",
            frames=self.frames,
            image_size=self.image_size or 224,
            patch_size=self.patch_size or 16,
            tubelet=self.slot,
            channels=self.channels or 3,
            norm_target=self.norm_target,
            mean=self.mean,
            std=self.std,
            mask_ratio=self.mask_ratio,
            **({} if chosen is None else {"masker": chosen}),
        )

    def optim(self, batch: int) -> AdamW:
        """Return the authors' optimiser: a rate of 1.5e-4 per 256 samples, and at least 5e-4 for small models."""
        least = 5e-4 if self.size in ("tiny", "small") else 0.0
        lr = max(least, scaled_lr(1.5e-4, batch))
        return AdamW(lr=lr, betas=(0.9, 0.95), weight_decay=0.05, no_decay=NO_DECAY)
