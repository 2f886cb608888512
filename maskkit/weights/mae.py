"""The layout of MAE's code (``models_mae.py`` of facebookresearch/mae). Audio-MAE's layout extends it.

It stores the sine-cosine tables ``pos_embed`` and ``decoder_pos_embed``. maskkit computes them, so they are checked
when reading and added when writing.
"""

from collections.abc import Mapping

from torch import Tensor

from maskkit.decoder import JointDecoder
from maskkit.model import MaskedModel
from maskkit.weights.translation import (
    Translation,
    grid_decoder,
    kernel_to_linear,
    linear_to_kernel,
    patch_tokenizer,
    position_table,
    read_table,
    rename,
    transformer,
)

PARTS = ("encoder", "decoder")

ENCODER = {
    "cls_token": "encoder.prefix",
    "patch_embed.proj.": "encoder.embed.",
    "blocks.": "encoder.blocks.",
    "norm.": "encoder.norm.",
}
DECODER = {
    "mask_token": "decoder.mask_token",
    "decoder_embed.": "decoder.project.",
    "decoder_blocks.": "decoder.blocks.",
    "decoder_norm.": "decoder.norm.",
    "decoder_pred.": "decoder.head.",
}


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are MAE's. The names of an encoder alone are those of layout timm."""
    return "decoder_embed.weight" in state and "patch_embed.proj.weight" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate the authors' names. An encoder alone is accepted; ``load`` reports what is missing."""
    state = dict(state)
    tables = {"encoder": state.pop("pos_embed", None), "decoder": state.pop("decoder_pos_embed", None)}
    renamed, unknown = rename(state, ENCODER | DECODER)
    if "encoder.embed.weight" in renamed:
        renamed["encoder.embed.weight"] = kernel_to_linear(renamed["encoder.embed.weight"])
    translation = Translation(state=renamed, unused=unknown)
    for part, table in tables.items():
        if table is not None:
            name = "pos_embed" if part == "encoder" else "decoder_pos_embed"
            read_table(translation, model, part, table, resize=resize_positions, source=name)
    return translation


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel, layout: str = "mae") -> dict[str, Tensor]:
    """Return weights with the names of ``models_mae.py``, including the tables. ``layout`` is named in errors."""
    if any(name.startswith("decoder.blocks.0.attn.tau") for name in state):
        raise ValueError(f"layout {layout} has no place for a windowed decoder; choose layout audiomae")
    renamed = named(state, model, layout)
    if "decoder_embed.weight" in renamed:
        tokenizer = patch_tokenizer(model, layout)
        decoder = grid_decoder(model)
        keeps_prefix = isinstance(decoder, JointDecoder) and decoder.keep_prefix
        num_prefix = transformer(model).prefix.shape[1] if keeps_prefix else 0
        renamed["decoder_pos_embed"] = position_table(decoder.positions, tokenizer, num_prefix).cpu()
    return renamed


def named(state: Mapping[str, Tensor], model: MaskedModel, layout: str) -> dict[str, Tensor]:
    """Return weights with the authors' names and the encoder's table. The layout adds the decoder's table."""
    tokenizer = patch_tokenizer(model, layout)
    if len(tokenizer.size) != 2:
        raise ValueError(
            f"layout {layout} holds models of images or spectrograms; for videos choose videomae or hf, or maskkit"
        )
    state = {name: tensor for name, tensor in state.items() if ".positions." not in name}
    renamed, unknown = rename(state, {ours: theirs for theirs, ours in (ENCODER | DECODER).items()})
    if unknown:
        raise ValueError(f"layout {layout} has no place for {', '.join(unknown[:4])}; choose layout maskkit")
    if "patch_embed.proj.weight" in renamed:
        renamed["patch_embed.proj.weight"] = linear_to_kernel(renamed["patch_embed.proj.weight"], tokenizer)
        encoder = transformer(model)
        renamed["pos_embed"] = position_table(encoder.positions, tokenizer, encoder.prefix.shape[1]).cpu()
    return renamed
