"""Published video methods, each a choice of parts."""

import math
from typing import Any, Literal, TypeVar

import torch
from torch import nn

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.layers import Attention, init_mae_weights
from maskkit.maskers import TubeMasker, Uniform
from maskkit.model import MaskedModel, check_parts
from maskkit.positions import FlatSinCos, SeparableTable
from maskkit.targets import Contents, NormalizedContents, SlicedContents
from maskkit.tokenizers import Patches

M = TypeVar("M", bound=nn.Module)
Size = Literal["tiny", "small", "base", "large", "huge"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
KINETICS_MEAN, KINETICS_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)  # MAE-ST's, the same for each channel

# width, depth, heads of the encoder; width, depth, heads of the decoder. Small to huge are the authors'
# (modeling_pretrain.py for widths; the decoder's depth is a flag of scripts/kinetics/*/pretrain.sh, 4 up to base and 12
# above, where the class would default to 8). Tiny is ours.
VIDEOMAE_SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((192, 12, 3), (96, 4, 3)),
    "small": ((384, 12, 6), (192, 4, 3)),
    "base": ((768, 12, 12), (384, 4, 6)),
    "large": ((1024, 24, 16), (512, 12, 8)),
    "huge": ((1280, 32, 16), (640, 12, 8)),
}

# MAE-ST publishes base, large and huge, all with PRETRAIN.md's decoder of depth 4; small and tiny are ours.
MAE_ST_SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((192, 12, 3), (128, 4, 4)),
    "small": ((384, 12, 6), (512, 4, 16)),
    "base": ((768, 12, 12), (512, 4, 16)),
    "large": ((1024, 24, 16), (512, 4, 16)),
    "huge": ((1280, 32, 16), (512, 4, 16)),
}


def patches(
    patch_size: int | tuple[int, int] = 16,
    tubelet: int = 2,
    channels: int = 3,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    frames: int | None = None,
    image_size: int | tuple[int, int] | None = None,
) -> Patches:
    """Return the tokenizer of videos ``[B C T H W]``: tubelets of ``tubelet`` frames by a patch, in the order t, h, w.

    Three channels default to ImageNet's statistics, others to 0.5.
    """
    default = (IMAGENET_MEAN, IMAGENET_STD) if channels == 3 else ((0.5,), (0.5,))
    known = frames is not None and image_size is not None
    return Patches(
        size=(tubelet, *_pair(patch_size)),
        channels=channels,
        mean=mean or default[0],
        std=std or default[1],
        names=("frames", "height", "width"),
        input_size=(frames, *_pair(image_size)) if known else None,  # type: ignore[arg-type]  # both are known here
    )


def videomae(
    size: Size = "base",
    *,
    frames: int = 16,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | tuple[int, int] = 16,
    tubelet: int = 2,
    channels: int = 3,
    norm_target: bool = True,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    mask_ratio: float = 0.9,
    **parts: Any,
) -> MaskedModel:
    """VideoMAE (arXiv:2203.12602) as ``modeling_pretrain.py`` and ``engine_for_pretraining.py`` have it.

    ``frames``, and ``image_size`` in pixels as one number or (height, width), are what the model is built for; it takes
    any other size that a tubelet divides. ``norm_target`` normalises each tubelet, channel by channel. ``mean`` and
    ``std`` normalise uint8 pixels, in [0, 1]. ``parts`` replace any of tokenizer, masker, encoder, decoder, target,
    loss.
    """
    (dim, depth, heads), (decoder_dim, decoder_depth, decoder_heads) = _sizes(size, VIDEOMAE_SIZES)
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
    if "target" not in parts:
        # The target is made of pixels in [0, 1], not of the normalised input; epsilon and channels as V8 says.
        channel_mean, channel_std = _per_channel(tokenizer)
        parts["target"] = (
            NormalizedContents(
                epsilon="outside",
                per_channel=True,
                channels=tokenizer.channels,
                mean=channel_mean,
                std=channel_std,
            )
            if norm_target
            else Contents(mean=channel_mean, std=channel_std)
        )
    return MaskedModel(tokenizer=tokenizer, **parts)


def mae_st(
    size: Size = "large",
    *,
    frames: int = 16,
    image_size: int | tuple[int, int] = 224,
    patch_size: int | tuple[int, int] | None = None,
    tubelet: int = 2,
    channels: int = 3,
    norm_target: bool = True,
    pred_t_dim: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    mask_ratio: float = 0.9,
    **parts: Any,
) -> MaskedModel:
    """MAE-ST (arXiv:2205.09113) as ``models_mae.py`` of facebookresearch/mae_st has it, with PRETRAIN.md's flags.

    Tokens are hidden anywhere in space and time (``random`` masks). Positions are learned, one table for time plus one
    for space. ``pred_t_dim`` of the frames are predicted: half of each tubelet by default, rounded down, as 8 of 16
    frames in the authors' script, and at least one of each. The class token takes part in the encoder; the decoder has
    one of its own. ``patch_size`` defaults to 16, and to 14 for huge. Everything else as in ``videomae``.
    """
    (dim, depth, heads), (decoder_dim, decoder_depth, decoder_heads) = _sizes(size, MAE_ST_SIZES)
    check_parts("video.mae_st", parts)
    patch = patch_size or (14 if size == "huge" else 16)
    if channels == 3:
        mean, std = mean or KINETICS_MEAN, std or KINETICS_STD
    tokenizer = parts.pop("tokenizer", None) or patches(patch, tubelet, channels, mean, std, frames, image_size)
    frames, tubelet = (tokenizer.input_size or (frames,))[0], tokenizer.size[0]
    grid = tokenizer.grid(tokenizer.input_size or (frames, *_pair(image_size)))
    predicted = grid[0] * max(tubelet // 2, 1) if pred_t_dim is None else pred_t_dim
    if predicted % grid[0] or not 0 < predicted <= frames:
        raise ValueError(
            f"pred_t_dim must be a multiple of the {grid[0]} slots of {tubelet} frames and at most {frames}, "
            f"got {predicted}"
        )
    kept = predicted // grid[0]
    if "encoder" not in parts:
        positions = SeparableTable(dim=dim, grid=grid)
        parts["encoder"] = init_mae_st_weights(
            SparseEncoder(content=tokenizer.width, dim=dim, depth=depth, heads=heads, positions=positions)
        )
        # The authors' class token is the sum of two vectors, itself and its position, each of deviation 0.02.
        nn.init.normal_(parts["encoder"].prefix, std=0.02 * math.sqrt(2))
    if "decoder" not in parts:
        parts["decoder"] = init_mae_st_weights(
            JointDecoder(
                latent=parts["encoder"].dim,
                dim=decoder_dim,
                depth=decoder_depth,
                heads=decoder_heads,
                output=tokenizer.width // tubelet * kept,
                positions=SeparableTable(dim=decoder_dim, grid=grid),
                keep_prefix=False,
                prefix_tokens=1,  # theirs starts at zero and gets a position of deviation 0.02: one vector here
            )
        )
    parts.setdefault("masker", Uniform(ratio=mask_ratio, rounding="keep"))
    if "target" not in parts:
        # Unlike VideoMAE's it is made of normalised input, and normalised over all channels, as MAE's.
        whole = NormalizedContents(epsilon="inside") if norm_target else Contents()
        parts["target"] = whole if kept == tubelet else SlicedContents(target=whole, slices=tubelet, kept=kept)
    return MaskedModel(tokenizer=tokenizer, **parts)


@torch.no_grad()
def init_videomae_weights(module: M) -> M:
    """Start the weights of an encoder or decoder as ``modeling_pretrain.py`` does (V1, V3, V4); returns it.

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


@torch.no_grad()
def init_mae_st_weights(module: M) -> M:
    """Start the weights of an encoder or decoder as MAE-ST's ``models_mae.py`` does; returns it.

    As MAE, except that q, k and v are a layer each (video_vit.py), whose bound sqrt(6 / 2D) is sqrt(2) times that of
    one layer of all three.
    """
    init_mae_weights(module)
    for layer in module.modules():
        if isinstance(layer, Attention):
            for weight in layer.qkv.weight.chunk(3):
                nn.init.xavier_uniform_(weight)
    return module


def _pair(size: int | tuple[int, int] | None) -> tuple[int, int]:
    """Return (height, width) of a size that may be one number."""
    assert size is not None
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _per_channel(tokenizer: Patches) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation, one number a channel."""
    mean, std = (values * (tokenizer.channels // len(values)) for values in (tokenizer.mean, tokenizer.std))
    return mean, std


def _sizes(size: str, known: dict[str, Any]) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    if size not in known:
        raise ValueError(f"size must be one of {', '.join(known)}, got {size!r}")
    encoder, decoder = known[size]
    return encoder, decoder
