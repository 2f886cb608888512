"""MAE-ST (arXiv:2205.09113), with every quirk of the authors' code (facebookresearch/mae_st; docs/official.md)."""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.layers import Attention, init_mae_weights
from maskkit.maskers import Uniform
from maskkit.methods.sizes import Size
from maskkit.modalities.video.inputs import Hide, Inputs, Pair, masker, pair, patches
from maskkit.model import MaskedModel, check_parts
from maskkit.optim import AdamW, scaled_lr
from maskkit.positions import SeparableTable
from maskkit.ranges import Length, Share
from maskkit.targets import Contents, NormalizedContents, SlicedContents

M = TypeVar("M", bound=nn.Module)

KINETICS_MEAN, KINETICS_STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)  # the same for each channel

# MAE-ST publishes base, large and huge, all with PRETRAIN.md's decoder of depth 4; small and tiny are ours.
SIZES: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "tiny": ((192, 12, 3), (128, 4, 4)),
    "small": ((384, 12, 6), (512, 4, 16)),
    "base": ((768, 12, 12), (512, 4, 16)),
    "large": ((1024, 24, 16), (512, 4, 16)),
    "huge": ((1280, 32, 16), (512, 4, 16)),
}


def mae_st(
    size: Size = "large",
    *,
    frames: int = 16,
    image_size: Pair = 224,
    patch_size: Pair | None = None,
    tubelet: int = 2,
    channels: int = 3,
    norm_target: bool = True,
    pred_t_dim: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    mask_ratio: float = 0.9,
    **parts: Any,
) -> MaskedModel:
    """Build MAE-ST (arXiv:2205.09113) as in ``models_mae.py`` of facebookresearch/mae_st, with PRETRAIN.md's flags.

    Tokens are hidden at random in space and time. Positions are learned: one table for time plus one for space.
    ``pred_t_dim`` is the number of predicted frames. By default half of each tubelet is predicted, rounded down, but at
    least one frame: 8 of 16 frames, as in the authors' script. The encoder has a class token, and the decoder has its
    own. ``patch_size`` defaults to 16, and to 14 for huge. All other arguments are those of ``videomae``.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    (dim, depth, heads), (decoder_dim, decoder_depth, decoder_heads) = SIZES[size]
    check_parts("video.mae_st", parts)
    patch = patch_size or (14 if size == "huge" else 16)
    if channels == 3:
        mean, std = mean or KINETICS_MEAN, std or KINETICS_STD
    tokenizer = parts.pop("tokenizer", None) or patches(patch, tubelet, channels, mean, std, frames, image_size)
    frames, tubelet = (tokenizer.input_size or (frames,))[0], tokenizer.size[0]
    grid = tokenizer.grid(tokenizer.input_size or (frames, *pair(image_size)))
    kept = _kept_frames(pred_t_dim, grid[0], tubelet, frames)
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


def _kept_frames(pred_t_dim: int | None, slots: int, tubelet: int, frames: int) -> int:
    """Return how many frames of each token are predicted. Raises ValueError for numbers that slots do not share."""
    predicted = slots * max(tubelet // 2, 1) if pred_t_dim is None else pred_t_dim
    if predicted % slots or not 0 < predicted <= frames:
        raise ValueError(
            f"pred_t_dim must be a multiple of the {slots} slots of {tubelet} frames and at most {frames}, "
            f"got {predicted}"
        )
    return predicted // slots


@torch.no_grad()
def init_mae_st_weights(module: M) -> M:
    """Initialise an encoder or decoder as MAE-ST's ``models_mae.py`` does; returns it.

    As MAE, except that q, k and v are a layer each (video_vit.py), whose bound sqrt(6 / 2D) is sqrt(2) times that of
    one layer of all three.
    """
    init_mae_weights(module)
    for layer in module.modules():
        if isinstance(layer, Attention):
            for weight in layer.qkv.weight.chunk(3):
                nn.init.xavier_uniform_(weight)
    return module


@dataclass(frozen=True, kw_only=True)
class MAEST(Inputs):
    """MAE-ST (arXiv:2205.09113): tokens are hidden at random in space and time; half of the frames are predicted."""

    name: ClassVar[str] = "mae-st"
    crop: ClassVar[str] = "resized"  # the method's crop (see the data settings)

    size: Size | None = None
    """Size of the encoder and its decoder. By default small on a GPU, tiny on a CPU."""
    norm_target: bool = True
    """Predict each tubelet normalised by its own mean and standard deviation. Otherwise predict plain pixels."""
    pred_t_dim: Length | None = None
    """Number of predicted frames. By default half of the frames."""
    mask: Hide = "preset"
    """Hide single tokens (uniform, the method's own), tubes (tube) or all tokens of a time step (frame)."""
    mask_ratio: Share = 0.9
    """Share of hidden tokens, in (0, 1)."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        chosen = masker(self.mask, self.mask_ratio)
        return mae_st(
            self.size or "large",
            frames=self.frames,
            image_size=self.image_size or 224,
            patch_size=self.patch_size,
            tubelet=self.slot,
            channels=self.channels or 3,
            norm_target=self.norm_target,
            pred_t_dim=self.pred_t_dim,
            mean=self.mean,
            std=self.std,
            mask_ratio=self.mask_ratio,
            **({} if chosen is None else {"masker": chosen}),
        )

    @property
    def most_patches(self) -> int:
        """The number of patches along a side with which the size was published: 16 for huge, else 14."""
        return 16 if self.size == "huge" else 14

    def optim(self, batch: int) -> AdamW:
        """Return MAE's optimiser: a rate of 1.5e-4 per 256 samples, and at least 5e-4 for small models."""
        least = 5e-4 if self.size in ("tiny", "small") else 0.0
        return AdamW(lr=max(least, scaled_lr(1.5e-4, batch)), betas=(0.9, 0.95), weight_decay=0.05)
