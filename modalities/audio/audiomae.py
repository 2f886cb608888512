"""Audio-MAE (arXiv:2207.06405), with every quirk of the authors' code (facebookresearch/AudioMAE; docs/official.md)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from maskkit.decoder import JointDecoder, WindowDecoder
from maskkit.encoder import SparseEncoder
from maskkit.layers import init_mae_weights
from maskkit.maskers import Masker, Stripes, Uniform
from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd
from maskkit.modalities.audio.inputs import AUDIOSET_MEAN, AUDIOSET_STD, FRAMES, Inputs, patches
from maskkit.model import MaskedModel, check_parts
from maskkit.optim import AdamW, scaled_lr
from maskkit.positions import SinCos
from maskkit.ranges import Share
from maskkit.targets import Contents, NormalizedContents

Size = Literal["tiny", "small", "base", "large"]
Hide = Literal["random", "time", "frequency", "both"]

# Width, depth and heads of the encoder; tiny is ours. The authors' huge has patches of 14, which do not divide 128
# bands.
SIZES = {"tiny": (192, 12, 3), "small": (384, 12, 6), "base": (768, 12, 12), "large": (1024, 24, 16)}

# Width, depth and heads of the decoder. With windows the authors' code builds 16 blocks whatever decoder_depth says
# (docs/official.md A5).
WINDOWED, GLOBAL = (512, 16, 16), (512, 8, 16)
TINY_DECODER = (128, 4, 4)


def masker(hide: Hide = "random", ratio: float | tuple[float, float] | None = None) -> Masker:
    """Return a masker that hides tokens at random, slices of time, slices of frequency, or both kinds of slices.

    ``ratio`` is the hidden share, 0.8 by default. For "both" it is a pair (time, frequency), by default the authors'
    flags (0.7, 0.3). int(N (1 - ratio)) tokens stay visible, as in ``models_mae.py``: 102 of 512. Raises ValueError for
    an unknown ``hide`` or a ratio of another form.
    """
    if isinstance(ratio, tuple) != (hide == "both") and ratio is not None:
        wanted = "a pair for time and frequency, such as 0.7 0.3" if hide == "both" else "one number, such as 0.8"
        raise ValueError(f"mask ratio of {hide!r} must be {wanted}, got {ratio}")
    if isinstance(ratio, tuple) or hide == "both":
        return Stripes(ratios=ratio if isinstance(ratio, tuple) else (0.7, 0.3))
    share = 0.8 if ratio is None else ratio
    if hide == "random":
        return Uniform(ratio=share, rounding="keep")
    if hide not in ("time", "frequency"):
        raise ValueError(f"mask must be random, time, frequency or both, got {hide!r}")
    return Stripes(ratios=(share, 0.0) if hide == "time" else (0.0, share))


def audiomae(
    size: Size = "base",
    *,
    frames: int = 1024,
    mels: int = 128,
    patch_size: int | tuple[int, int] = 16,
    decoder: Literal["window", "global"] | WindowDecoder | JointDecoder = "window",
    positions: Literal["authors", "corrected"] = "authors",
    norm_target: bool = True,
    mask: Hide = "random",
    mask_ratio: float | tuple[float, float] | None = None,
    mean: float = AUDIOSET_MEAN,
    std: float = AUDIOSET_STD,
    sample_rate: int = AUDIO_MAE.sample_rate,
    lowest: float = AUDIO_MAE.lowest,
    highest: float | None = AUDIO_MAE.highest,
    window: float = AUDIO_MAE.window,
    shift: float = AUDIO_MAE.shift,
    **parts: Any,
) -> MaskedModel:
    """Build Audio-MAE (arXiv:2207.06405) as in the authors' ``models_mae.py``.

    ``frames`` and ``mels`` (bands) are the nominal size; the model accepts any other size that is divisible
    by the patch, and lists of clips of any length. ``decoder`` is the authors' windowed decoder (decoder_mode 1, as in
    their script) or MAE's global decoder (mode 0). ``positions="authors"`` uses their transposed table
    (docs/official.md A1), which their weights need; "corrected" encodes time and frequency on separate axes. Both are
    fixed, never trained (A8). ``norm_target=True`` is what the authors' flag gives for any word, "False" included (A7).
    ``mask`` and ``mask_ratio`` are those of ``masker``. Readers compute spectrograms at ``sample_rate`` (hertz) from
    ``lowest`` to ``highest`` (hertz; None is half the rate), in frames of ``window`` every ``shift`` (seconds).
    ``parts`` replaces any of tokenizer, masker, encoder, decoder, target, loss. Raises ValueError for an unknown size,
    decoder, table, mask or part, and for a front end that does not fit.
    """
    if size not in SIZES:
        raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
    check_parts("audio.audiomae", parts)
    if positions not in ("authors", "corrected"):
        raise ValueError(f"positions must be 'authors' or 'corrected', got {positions!r}")
    parts.setdefault("masker", masker(mask, mask_ratio))
    dim, depth, heads = SIZES[size]
    front_end = FrontEnd(sample_rate=sample_rate, lowest=lowest, highest=highest, window=window, shift=shift)
    tokenizer = parts.pop("tokenizer", None) or patches(
        patch_size, frames=frames, mels=mels, mean=mean, std=std, front_end=front_end
    )
    grid = tokenizer.grid(tokenizer.input_size or (frames, mels))
    misread = (grid[0], grid[1]) if positions == "authors" else None
    if "encoder" not in parts:
        places = SinCos(dim=dim, axes=2, order=(1, 0), misread=misread)
        encoder = SparseEncoder(content=tokenizer.width, dim=dim, depth=depth, heads=heads, positions=places)
        parts["encoder"] = init_mae_weights(encoder)
    if isinstance(decoder, str):
        decoder = _decoder(decoder, size, parts["encoder"].dim, tokenizer.width, misread)
    parts.setdefault("target", NormalizedContents(epsilon="inside") if norm_target else Contents())
    return MaskedModel(tokenizer=tokenizer, decoder=decoder, **parts)


def _decoder(
    kind: str, size: Size, latent: int, output: int, misread: tuple[int, int] | None
) -> WindowDecoder | JointDecoder:
    """Return a decoder, initialised as the authors': Xavier for every Linear, including the bias networks."""
    if kind not in ("window", "global"):
        raise ValueError(f"decoder must be 'window' or 'global', got {kind!r}")
    dim, depth, heads = TINY_DECODER if size == "tiny" else WINDOWED if kind == "window" else GLOBAL
    places = SinCos(dim=dim, axes=2, order=(1, 0), misread=misread)
    common: dict[str, Any] = {"latent": latent, "dim": dim, "depth": depth, "heads": heads, "output": output}
    if kind == "global":
        return init_mae_weights(JointDecoder(**common, positions=places))
    return init_mae_weights(WindowDecoder(**common, positions=places, window=(4, 4), shift=(2, 0), bias_dropout=0.1))


@dataclass(frozen=True, kw_only=True)
class AudioMAE(Inputs):
    """Audio-MAE (arXiv:2207.06405): MAE on spectrograms, with window attention in the decoder."""

    name: ClassVar[str] = "audiomae"

    size: Size | None = None
    """Size of the encoder. By default base on a GPU, tiny on a CPU."""
    decoder: Literal["window", "global"] = "window"
    """The authors' decoder with window attention, or MAE's decoder with global attention."""
    positions: Literal["authors", "corrected"] = "authors"
    """Position table: the authors' transposed one, which their weights need, or the corrected one."""
    norm_target: bool = True
    """Predict each patch normalised by its own mean and standard deviation. Otherwise predict plain energies."""
    mask: Hide = "random"
    """Hide patches at random, slices of time, slices of frequency, or both kinds of slices."""
    mask_ratio: Share | tuple[Share, Share] | None = None
    """Share that is hidden, in (0, 1). By default 0.8. With --mask both, a pair for time and frequency: by default 0.7
    0.3."""

    def __post_init__(self) -> None:
        """Validate the mask before the data set is opened."""
        super().__post_init__()
        masker(self.mask, self.mask_ratio)

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""
        return audiomae(
            self.size or "base",
            frames=self.length or FRAMES,
            mels=self.mels,
            patch_size=self.patch_size,
            decoder=self.decoder,
            positions=self.positions,
            norm_target=self.norm_target,
            mask=self.mask,
            mask_ratio=self.mask_ratio,
            mean=AUDIOSET_MEAN if self.mean is None else self.mean,
            std=AUDIOSET_STD if self.std is None else self.std,
            sample_rate=self.sample_rate,
            lowest=self.lowest,
            highest=self.highest,
            window=self.window,
            shift=self.shift,
        )

    def optim(self, batch: int) -> AdamW:
        """Return the authors' optimiser: a rate of 2e-4 per 256 samples, and at least 5e-4 for small models."""
        least = 5e-4 if self.size in ("tiny", "small") else 0.0
        return AdamW(lr=max(least, scaled_lr(2e-4, batch)), betas=(0.9, 0.95), weight_decay=1e-4)
