"""The layout of Point-MAE's code (class Point_MAE in ``models/Point_MAE.py``).

Its mini-PointNet and head are convolutions of size 1, [out, in, 1], which are converted from and to linear layers.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.weights.translation import Translation, rename

PARTS = ("encoder", "decoder")
KEY = "base_model"  # of a pickled file, which the authors' fine-tuning and resuming read

ENCODER = {
    "MAE_encoder.encoder.first_conv.0.": "encoder.embed.first.0.",
    "MAE_encoder.encoder.first_conv.1.": "encoder.embed.first.1.",
    "MAE_encoder.encoder.first_conv.3.": "encoder.embed.first.2.",
    "MAE_encoder.encoder.second_conv.0.": "encoder.embed.second.0.",
    "MAE_encoder.encoder.second_conv.1.": "encoder.embed.second.1.",
    "MAE_encoder.encoder.second_conv.3.": "encoder.embed.second.2.",
    "MAE_encoder.pos_embed.0.": "encoder.positions.first.",
    "MAE_encoder.pos_embed.2.": "encoder.positions.second.",
    "MAE_encoder.blocks.blocks.": "encoder.blocks.",
    "MAE_encoder.norm.": "encoder.norm.",
}
DECODER = {
    "mask_token": "decoder.mask_token",
    "decoder_pos_embed.0.": "decoder.positions.first.",
    "decoder_pos_embed.2.": "decoder.positions.second.",
    "MAE_decoder.blocks.": "decoder.blocks.",
    "MAE_decoder.norm.": "decoder.norm.",
    "increase_dim.0.": "decoder.head.",
}
_CONVOLUTIONS = ("first_conv.", "second_conv.", "increase_dim.")


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are Point-MAE's."""
    return "MAE_encoder.encoder.first_conv.0.weight" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate the authors' names. Positions are computed from coordinates, so there is no table to resize."""
    flat = {name: tensor.squeeze(2) if _is_kernel(name, tensor) else tensor for name, tensor in state.items()}
    renamed, unknown = rename(flat, ENCODER | DECODER)
    if renamed:
        renamed["encoder.prefix"] = torch.empty(1, 0, model.encoder.dim)  # Point-MAE has no class token
    return Translation(state=renamed, unused=unknown)


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Return weights with the names of ``Point_MAE.py``."""
    state = {name: tensor for name, tensor in state.items() if name != "encoder.prefix" or tensor.numel()}
    renamed, unknown = rename(state, {ours: theirs for theirs, ours in (ENCODER | DECODER).items()})
    if unknown:
        raise ValueError(f"layout point-mae has no place for {', '.join(unknown[:4])}; choose layout maskkit")
    kernels = {name for name, tensor in renamed.items() if _is_linear(name, tensor)}
    return {name: tensor[..., None] if name in kernels else tensor for name, tensor in renamed.items()}


def _is_kernel(name: str, tensor: Tensor) -> bool:
    return any(part in name for part in _CONVOLUTIONS) and tensor.ndim == 3


def _is_linear(name: str, tensor: Tensor) -> bool:
    return any(part in name for part in _CONVOLUTIONS) and tensor.ndim == 2
