"""The layout of VideoMAE's code (``modeling_pretrain.py`` of MCG-NJU/VideoMAE).

Its attention has a bias for queries and one for values, and none for keys (docs/official.md V1); ours has one bias for
all three. The bias of the keys is read as zeros and left out when writing. It has no effect: ``q (k + b) = q k + q b``
adds the same number to all scores of a query, to which the softmax is invariant. Positions are computed and not stored
in checkpoints (V2).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.weights.translation import (
    Translation,
    kernel_to_linear,
    linear_to_kernel,
    patch_tokenizer,
    rename,
    transformer,
)

PARTS = ("encoder", "decoder")

NAMES = {
    "encoder.patch_embed.proj.": "encoder.embed.",
    "encoder.blocks.": "encoder.blocks.",
    "encoder.norm.": "encoder.norm.",
    "encoder_to_decoder.": "decoder.project.",
    "mask_token": "decoder.mask_token",
    "decoder.blocks.": "decoder.blocks.",
    "decoder.norm.": "decoder.norm.",
    "decoder.head.": "decoder.head.",
}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are VideoMAE's."""
    return "encoder.patch_embed.proj.weight" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate the authors' names. There is no position table, so ``resize_positions`` has no effect."""
    patch_tokenizer(model, "videomae")
    renamed, unknown = rename(state, NAMES)
    if "encoder.embed.weight" in renamed:
        renamed["encoder.embed.weight"] = kernel_to_linear(renamed["encoder.embed.weight"])
        # VideoMAE has no class token; the model's prefix is a tensor without tokens.
        renamed["encoder.prefix"] = torch.empty(1, 0, len(renamed["encoder.embed.weight"]))
    return Translation(state=with_key_bias(renamed), unused=unknown)


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel, layout: str = "videomae") -> dict[str, Tensor]:
    """Return weights with the names of ``modeling_pretrain.py``. ``layout`` is named in errors."""
    tokenizer = patch_tokenizer(model, layout)
    if transformer(model).prefix.numel():
        raise ValueError(f"layout {layout} has no place for class or register tokens; choose layout maskkit")
    state = {name: tensor for name, tensor in state.items() if name != "encoder.prefix"}
    renamed, unknown = rename(without_key_bias(state), {ours: theirs for theirs, ours in NAMES.items()})
    if unknown:
        raise ValueError(f"layout {layout} has no place for {', '.join(unknown[:4])}; choose layout maskkit")
    if "encoder.patch_embed.proj.weight" in renamed:
        kernel = linear_to_kernel(renamed["encoder.patch_embed.proj.weight"], tokenizer)
        renamed["encoder.patch_embed.proj.weight"] = kernel
    return renamed


def with_key_bias(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join ``q_bias`` and ``v_bias`` to one ``qkv.bias``, with zeros for the keys."""
    joined = {name: tensor for name, tensor in state.items() if not name.endswith((".q_bias", ".v_bias"))}
    for name, q_bias in state.items():
        v_bias = state.get(name.removesuffix("q_bias") + "v_bias")
        if name.endswith(".q_bias") and v_bias is not None:
            joined[name.removesuffix("q_bias") + "qkv.bias"] = torch.cat([q_bias, torch.zeros_like(q_bias), v_bias])
    return joined


def without_key_bias(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the inverse of ``with_key_bias``. The bias of the keys is dropped, because it has no effect."""
    apart: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(".attn.qkv.bias"):
            apart[name.removesuffix("qkv.bias") + "q_bias"], _, apart[name.removesuffix("qkv.bias") + "v_bias"] = (
                tensor.chunk(3)
            )
        else:
            apart[name] = tensor
    return apart
