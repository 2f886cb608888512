"""The layout of timm's VisionTransformer, for the encoder only.

``timm.create_model("vit_base_patch16_224", num_classes=0)`` loads such files. timm's position tables are learned and
have a row for the class token; both are kept (``translation.read_table``).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from maskkit.model import MaskedModel
from maskkit.weights import mae
from maskkit.weights.translation import Translation, kernel_to_linear, read_table, rename, transformer

PARTS = ("encoder",)


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are timm's ViT's."""
    return "patch_embed.proj.weight" in state and "pos_embed" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate an encoder; ``cls_token`` and ``reg_token`` become the prefix. A classifier head stays unused."""
    state = dict(state)
    table = state.pop("pos_embed", None)
    prefix = [state.pop(name) for name in ("cls_token", "reg_token") if name in state]
    renamed, unknown = rename(state, mae.ENCODER)
    if "encoder.embed.weight" in renamed:
        renamed["encoder.embed.weight"] = kernel_to_linear(renamed["encoder.embed.weight"])
    width = transformer(model).prefix.shape[-1]
    renamed["encoder.prefix"] = torch.cat(prefix, dim=1) if prefix else torch.empty(1, 0, width)
    translation = Translation(state=renamed, unused=unknown)
    if "encoder.mask_token" in model.state_dict():
        translation.replaced.add("encoder.mask_token")
        translation.notes.append("the mask token stays as it is: the source has none")
    if table is not None and renamed["encoder.prefix"].shape == transformer(model).prefix.shape:
        read_table(translation, model, "encoder", table, resize=resize_positions, source="pos_embed")
    return translation


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Return the encoder with timm's names. Raises ValueError unless it has exactly one class token."""
    # A mask token stands for contents that are hidden, of which timm's models have none.
    encoder = {name: x for name, x in state.items() if name.startswith("encoder.") and name != "encoder.mask_token"}
    if transformer(model).prefix.shape[1] != 1:
        raise ValueError(
            f"layout timm writes one class token, this encoder has {transformer(model).prefix.shape[1]} prefix tokens; "
            "choose layout maskkit"
        )
    return mae.from_maskkit(encoder, model, "timm")
