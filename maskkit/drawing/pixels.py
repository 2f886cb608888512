"""Conversion of images ``[B C H W]`` and videos ``[B C T H W]`` into pixels for figures, without normalisation.

Shapes: B batch, C channels, H hidden tokens, D contents of a token; any axes behind the channels.
"""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from maskkit.batches import Batch, tensor_of
from maskkit.model import MaskedModel
from maskkit.types import Output

HIDDEN_GREY = 0.5


def three_views(batch: Batch, output: Output, model: MaskedModel) -> list[Float[Tensor, "B 3 *axes"]]:
    """Return input, visible part and reconstruction as pixels in [0, 1]; hidden tokens of the second are grey."""
    pixels = tensor_of(batch)
    masked = model.paint(output, batch, contents=grey(pixels, output, model))
    return [shown(tensor_of(each), model, like=pixels) for each in (batch, masked, model.paint(output, batch))]


def grey(batch: Shaped[Tensor, "B C *axes"], output: Output, model: MaskedModel) -> Float[Tensor, "B H D"]:
    """Return contents of hidden tokens that are shown as middle grey."""
    if batch.dtype == torch.uint8:
        everywhere = torch.full_like(batch, 128)
    else:
        mean, std = _statistics(model, batch)
        everywhere = ((HIDDEN_GREY - mean) / std).expand_as(batch).to(batch.dtype)
    return model.tokenizer(everywhere).x[:, : output.mask.hidden.shape[1]]


def shown(batch: Shaped[Tensor, "B C *axes"], model: MaskedModel, *, like: Tensor) -> Float[Tensor, "B 3 *axes"]:
    """Return pixels in [0, 1] as three channels: colour, grey, or the first channels of many.

    Floats outside of [0, 1] are scaled by the range of ``like``, which is the same for all cells of a figure.
    """
    if batch.dtype == torch.uint8:
        pixels = batch.float() / 255
    else:
        mean, std = _statistics(model, batch)
        pixels, known = batch.float() * std + mean, like.float() * std + mean
        low, high = min(0.0, known.min().item()), max(1.0, known.max().item())
        pixels = (pixels - low) / (high - low)
    pixels = pixels[:, :3] if pixels.shape[1] >= 3 else pixels[:, :1].expand(-1, 3, *pixels.shape[2:])
    return pixels.clamp(0, 1).cpu()


def _statistics(model: MaskedModel, batch: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel, in a shape that broadcasts over the batch."""
    tokenizer = model.tokenizer
    mean, std = (
        torch.tensor(values, device=batch.device).view(1, -1, *[1] * (batch.ndim - 2))
        for values in (tokenizer.mean, tokenizer.std)  # type: ignore[attr-defined]  # pixels are cut by Patches
    )
    return mean, std
