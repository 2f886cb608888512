"""Teachers: targets that are latents of an encoder that the optimiser does not train.

Shapes: B samples, N tokens, H hidden tokens, D width, R prefix tokens.
"""

import copy
from typing import Literal, Self, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from maskkit.batches import Batch
from maskkit.encoder import Encoder
from maskkit.model import MaskedModel
from maskkit.parts import part
from maskkit.step import Step
from maskkit.types import Mask, Tokens, take

Norm = Literal["layer", "instance", "none"]


class EncoderTarget(nn.Module):
    """Latents of ``encoder`` for the whole sample. Abstract: ``Teacher`` and ``FrozenTeacher`` choose the encoder.

    The value is the mean of the levels ``layers``, given as numbers of blocks (see ``layers.Blocks``); without
    ``layers`` it is the encoder's output. ``norm`` is applied to each level before the mean: "layer" normalises each
    token over its channels (I-JEPA), "instance" each channel over the tokens (data2vec 2.0), both without affine
    parameters and with an epsilon of 1e-5. A mean of several levels is normalised again by "layer", as in data2vec 2.0.
    The encoder runs once per step, for all masks and terms. Raises ValueError for other arguments.
    """

    encoder: nn.Module

    def __init__(self, layers: tuple[int, ...], norm: Norm) -> None:
        super().__init__()
        if norm not in ("layer", "instance", "none"):
            raise ValueError(f"norm must be layer, instance or none, got {norm!r}")
        self.layers, self.norm = tuple(layers), norm

    def hold(self, encoder: nn.Module) -> None:
        """Take an encoder out of training and keep its levels ``layers``. Raises ValueError if it cannot keep them."""
        if self.layers:
            blocks = getattr(encoder, "blocks", None)
            if blocks is None or not hasattr(blocks, "keep"):
                raise ValueError(f"{type(encoder).__name__} keeps no levels; leave the teacher's layers out")
            if min(self.layers) < 0 or max(self.layers) > len(blocks):
                raise ValueError(f"layers of a teacher lie between 0 and its {len(blocks)} blocks, got {self.layers}")
            blocks.keep = self.layers
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, without dropout, in every mode."""
        super().train(mode)
        if hasattr(self, "encoder"):
            self.encoder.eval()
        return self

    def forward(self, tokens: Tokens, mask: Mask, batch: Batch, *, step: Step) -> Float[Tensor, "B H D"]:
        """Return the float32 values of the predicted tokens."""
        every = step.once(("teacher", id(self)), lambda: self.values(tokens, step))
        return take(every, mask.hidden)

    @torch.no_grad()
    def values(self, tokens: Tokens, step: Step) -> Float[Tensor, "B N D"]:
        """Return the float32 values of all tokens."""
        with step.autocast():
            latent = cast(Encoder, self.encoder)(tokens)
        num_prefix = latent.prefix.shape[1]
        levels = [level[:, num_prefix:] for level in latent.levels] if self.layers else [latent.tokens]
        values = [self._normalised(level.float(), tokens.valid) for level in levels]
        if len(values) == 1:
            return values[0]
        mean = torch.stack(values).mean(dim=0)
        return mean if self.norm == "none" else F.layer_norm(mean, mean.shape[-1:])

    def _normalised(self, x: Float[Tensor, "B N D"], valid: Bool[Tensor, "B N"] | None) -> Float[Tensor, "B N D"]:
        if self.norm == "layer":
            return F.layer_norm(x, x.shape[-1:])
        if self.norm == "instance" and valid is not None:  # statistics without padding
            weight = valid[..., None] / valid.sum(dim=1)[:, None, None]
            centred = x - (x * weight).sum(dim=1, keepdim=True)
            return centred * ((centred.square() * weight).sum(dim=1, keepdim=True) + 1e-5).rsqrt()
        if self.norm == "instance":
            return F.instance_norm(x.transpose(1, 2)).transpose(1, 2)
        return x


@part
class Teacher(EncoderTarget):
    """Latents of a moving average of the encoder for the whole sample. I-JEPA (arXiv:2301.08243), section 3.

    The average is updated after each step: ``teacher = decay teacher + (1 - decay) encoder``. The decay changes
    linearly from ``start`` to ``end`` over the run, both in [0, 1]. ``layers`` and ``norm`` are those of
    ``EncoderTarget``. Raises ValueError for other arguments.
    """

    def __init__(
        self, *, start: float = 0.996, end: float = 1.0, layers: tuple[int, ...] = (), norm: Norm = "layer"
    ) -> None:
        super().__init__(layers, norm)
        if not 0 <= start <= 1 or not 0 <= end <= 1:
            raise ValueError(f"start and end are decays in [0, 1], got {start} and {end}")
        self.start, self.end = start, end

    def setup(self, model: MaskedModel) -> None:
        """Copy the encoder. Raises ValueError if it cannot keep the levels ``layers``."""
        self.hold(copy.deepcopy(cast(nn.Module, model.encoder)))

    @torch.no_grad()
    def after_step(self, model: MaskedModel, progress: float) -> None:
        """Update the average. Buffers, such as BatchNorm's statistics, are copied."""
        decay = self.start + (self.end - self.start) * progress
        encoder = cast(nn.Module, model.encoder)
        ours: list[Tensor] = list(self.encoder.parameters())
        theirs: list[Tensor] = list(encoder.parameters())
        torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, other in zip(self.encoder.buffers(), encoder.buffers(), strict=True):
            mine.copy_(other)


@part
class FrozenTeacher(EncoderTarget):
    """Latents of an encoder that was trained before, for the whole sample. EVA (arXiv:2211.07636), section 2.1.

    ``encoder`` is that of another model, such as ``weights.open_model(file).encoder``. It takes the tokens of the model
    that it teaches, so both need the same tokenizer. Its weights are written with the model: neither a resumed run nor
    a model file needs the teacher's file. ``layers`` and ``norm`` are those of ``EncoderTarget``.
    """

    def __init__(self, encoder: Encoder, *, layers: tuple[int, ...] = (), norm: Norm = "layer") -> None:
        super().__init__(layers, norm)
        self.hold(cast(nn.Module, encoder))
