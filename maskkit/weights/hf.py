"""The layout of transformers' ViTMAEForPreTraining. Video models are handled by ``hf_videomae``.

Modules have other names in transformers 4 (``vit.encoder.layer.0.attention.attention.query``) and 5
(``vit.layers.0.attention.q_proj``), and files that version 5 writes have a third set (``decoder.decoder_encoder``). All
are read. The names of version 4 are written, because ``from_pretrained`` of every version accepts them.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maskkit.decoder import JointDecoder
from maskkit.model import MaskedModel
from maskkit.targets import NormalizedContents
from maskkit.weights import hf_videomae, mae
from maskkit.weights.translation import Translation, fuse_qkv, patch_tokenizer, replace_first, split_qkv, transformer

PARTS = ("encoder", "decoder")

# From transformers' names to those of the authors' layout, with q, k and v still apart. First match wins.
TO_MAE = [
    (r"^vit\.embeddings\.cls_token$", "cls_token"),
    (r"^vit\.embeddings\.position_embeddings$", "pos_embed"),
    (r"^vit\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^vit\.(?:encoder\.layer|layers)\.", "blocks."),
    (r"^vit\.layernorm\.", "norm."),
    (r"^decoder\.mask_token$", "mask_token"),
    (r"^decoder\.decoder_pos_embed$", "decoder_pos_embed"),
    (r"^decoder\.(?:decoder_encoder\.layer|decoder_layers)\.", "decoder_blocks."),
    (r"^decoder\.(decoder_embed|decoder_norm|decoder_pred)\.", r"\1."),
]
IN_BLOCK = [
    (r"\.attention\.(?:attention\.)?(?:query|q_proj)\.", ".attn.q."),
    (r"\.attention\.(?:attention\.)?(?:key|k_proj)\.", ".attn.k."),
    (r"\.attention\.(?:attention\.)?(?:value|v_proj)\.", ".attn.v."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.(?:intermediate\.dense|mlp\.fc1)\.", ".mlp.fc1."),
    (r"\.(?:output\.dense|mlp\.fc2)\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
]
FROM_MAE = [
    (r"^cls_token$", "vit.embeddings.cls_token"),
    (r"^pos_embed$", "vit.embeddings.position_embeddings"),
    (r"^patch_embed\.proj\.", "vit.embeddings.patch_embeddings.projection."),
    (r"^blocks\.", "vit.encoder.layer."),
    (r"^norm\.", "vit.layernorm."),
    (r"^decoder_blocks\.", "decoder.decoder_layers."),
    (r"^(mask_token|decoder_pos_embed|decoder_embed|decoder_norm|decoder_pred)", r"decoder.\1"),
]
FROM_BLOCK = [
    (r"\.attn\.q\.", ".attention.attention.query."),
    (r"\.attn\.k\.", ".attention.attention.key."),
    (r"\.attn\.v\.", ".attention.attention.value."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are transformers'."""
    return "vit.embeddings.patch_embeddings.projection.weight" in state or hf_videomae.recognises(state)


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate via the authors' layout."""
    if hf_videomae.recognises(state):
        return hf_videomae.to_maskkit(state, model, resize_positions=resize_positions)
    renamed = {replace_first(replace_first(name, TO_MAE), IN_BLOCK): tensor for name, tensor in state.items()}
    return mae.to_maskkit(fuse_qkv(renamed), model, resize_positions=resize_positions)


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Return weights with the names of transformers' files."""
    if _is_video(model):
        return hf_videomae.from_maskkit(state, model)
    apart: dict[str, Tensor] = {}
    for name, tensor in mae.from_maskkit(state, model, "hf").items():
        apart |= split_qkv(name, tensor) if ".qkv." in name else {name: tensor}
    return {
        replace_first(replace_first(name, FROM_BLOCK), FROM_MAE): tensor.contiguous() for name, tensor in apart.items()
    }


def config(model: MaskedModel) -> dict[str, Any]:
    """Return the ``config.json`` of ViTMAEForPreTraining, or of VideoMAEForPreTraining, for this model."""
    if _is_video(model):
        return hf_videomae.config(model)
    tokenizer, encoder, decoder = patch_tokenizer(model, "hf"), transformer(model), model.decoder
    if not isinstance(decoder, JointDecoder) or tokenizer.input_size is None:
        raise ValueError("layout hf holds MAE models with a joint decoder and a known image_size")
    first: Any = encoder.blocks[0]
    last: Any = decoder.blocks[0]
    square = len(set(tokenizer.input_size)) == len(set(tokenizer.size)) == 1
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "hidden_size": encoder.dim,
        "num_hidden_layers": len(encoder.blocks),
        "num_attention_heads": first.attn.num_heads,
        "intermediate_size": first.mlp.fc1.out_features,
        "qkv_bias": first.attn.qkv.bias is not None,
        "hidden_act": "gelu",
        "layer_norm_eps": encoder.norm.eps,
        "image_size": tokenizer.input_size[0] if square else list(tokenizer.input_size),
        "patch_size": tokenizer.size[0] if square else list(tokenizer.size),
        "num_channels": tokenizer.channels,
        "decoder_hidden_size": decoder.project.out_features,
        "decoder_num_hidden_layers": len(decoder.blocks),
        "decoder_num_attention_heads": last.attn.num_heads,
        "decoder_intermediate_size": last.mlp.fc1.out_features,
        "mask_ratio": getattr(model.masker, "ratio", 0.75),
        "norm_pix_loss": isinstance(model.target, NormalizedContents),
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
    }


def _is_video(model: MaskedModel) -> bool:
    """Return whether transformers' model of this shape is VideoMAE: patches of three axes."""
    return len(patch_tokenizer(model, "hf").size) == 3
