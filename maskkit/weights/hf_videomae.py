"""The layout of transformers' VideoMAEForPreTraining.

Files hold ``attention.attention.q_bias`` and ``v_bias``, as the modules of transformers 4 do. Modules of transformers 5
have ``query.bias`` and ``value.bias``, and its ``from_pretrained`` renames. Both are read. The names of files are
written, which both versions open.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from maskkit.decoder import JointDecoder
from maskkit.model import MaskedModel
from maskkit.parts import replace_part
from maskkit.positions import FlatSinCos
from maskkit.targets import NormalizedContents
from maskkit.weights import videomae
from maskkit.weights.translation import (
    Translation,
    fuse_qkv,
    grid_decoder,
    patch_tokenizer,
    replace_first,
    split_qkv,
    transformer,
)

# From transformers' names to those of the authors' layout, with q, k and v still apart. First match wins.
TO_VIDEOMAE = [
    (r"^videomae\.embeddings\.patch_embeddings\.projection\.", "encoder.patch_embed.proj."),
    (r"^videomae\.encoder\.layer\.", "encoder.blocks."),
    (r"^videomae\.layernorm\.", "encoder.norm."),
    (r"^decoder\.decoder_layers\.", "decoder.blocks."),
]
IN_BLOCK = [
    (r"\.attention\.attention\.(?:q_bias|query\.bias)$", ".attn.q_bias"),
    (r"\.attention\.attention\.(?:v_bias|value\.bias)$", ".attn.v_bias"),
    (r"\.attention\.attention\.query\.", ".attn.q."),
    (r"\.attention\.attention\.key\.", ".attn.k."),
    (r"\.attention\.attention\.value\.", ".attn.v."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
]
FROM_VIDEOMAE = [
    (r"^encoder\.patch_embed\.proj\.", "videomae.embeddings.patch_embeddings.projection."),
    (r"^encoder\.blocks\.", "videomae.encoder.layer."),
    (r"^encoder\.norm\.", "videomae.layernorm."),
    (r"^decoder\.blocks\.", "decoder.decoder_layers."),
]
DECODER_NORM_EPS = 1e-5  # of the decoder's last norm: transformers uses torch's default, regardless of its config

FROM_BLOCK = [
    (r"\.attn\.q\.", ".attention.attention.query."),
    (r"\.attn\.k\.", ".attention.attention.key."),
    (r"\.attn\.v\.", ".attention.attention.value."),
    (r"\.attn\.(q_bias|v_bias)$", r".attention.attention.\1"),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.mlp\.fc1\.", ".intermediate.dense."),
    (r"\.mlp\.fc2\.", ".output.dense."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
]


def recognises(state: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of transformers' VideoMAE."""
    return "videomae.embeddings.patch_embeddings.projection.weight" in state


def to_maskkit(state: Mapping[str, Tensor], model: MaskedModel, *, resize_positions: bool) -> Translation:
    """Translate via the authors' layout.

    transformers builds no final norm in the encoder if its config pools by the mean, which is its default and not how
    the released checkpoints were trained. Such weights remove the norm from the model, which the report states. The
    last norm gets transformers' epsilon; otherwise predictions differ by 1e-5.
    """
    renamed = {replace_first(replace_first(name, TO_VIDEOMAE), IN_BLOCK): tensor for name, tensor in state.items()}
    translation = videomae.to_maskkit(fuse_qkv(renamed), model, resize_positions=resize_positions)
    if "encoder.norm.weight" not in translation.state and "decoder.head.weight" in translation.state:
        norm = {name for name in model.state_dict() if name.startswith("encoder.norm.")}
        translation.replaced |= norm

        def without_norm() -> None:
            encoder = transformer(model)
            encoder.norm = nn.Identity()
            replace_part(encoder, final_norm=False)

        translation.actions.append(without_norm)
        note = "the source has no final norm in its encoder (use_mean_pooling): the model's was removed"
        translation.notes.append(note)
    decoder = grid_decoder(model)
    if decoder.norm.eps != DECODER_NORM_EPS:

        def as_theirs() -> None:
            decoder.norm.eps = DECODER_NORM_EPS
            replace_part(decoder, final_norm_eps=DECODER_NORM_EPS)

        translation.actions.append(as_theirs)
        translation.notes.append(f"the decoder's last norm now has transformers' epsilon, {DECODER_NORM_EPS:g}")
    return translation


def from_maskkit(state: Mapping[str, Tensor], model: MaskedModel) -> dict[str, Tensor]:
    """Return weights with the names of transformers' files. Their decoder's last norm has an epsilon of 1e-5."""
    apart: dict[str, Tensor] = {}
    for name, tensor in videomae.from_maskkit(state, model, "hf").items():
        apart |= split_qkv(name, tensor) if ".qkv." in name else {name: tensor}
    return {
        replace_first(replace_first(name, FROM_BLOCK), FROM_VIDEOMAE): tensor.contiguous()
        for name, tensor in apart.items()
    }


def config(model: MaskedModel) -> dict[str, Any]:
    """Return the ``config.json`` of VideoMAEForPreTraining for this model."""
    tokenizer, encoder, decoder = patch_tokenizer(model, "hf"), transformer(model), model.decoder
    fits = isinstance(decoder, JointDecoder) and not decoder.keep_prefix and decoder.project.bias is None
    if (
        not isinstance(decoder, JointDecoder)
        or not fits
        or tokenizer.input_size is None
        or not isinstance(encoder.positions, FlatSinCos)
    ):
        raise ValueError("layout hf holds videos of VideoMAE's architecture, with known frames and image_size")
    tubelet, *patch_size = tokenizer.size
    if len(set(patch_size)) > 1:  # its head has patch_size ** 2 outputs
        height, width = patch_size
        raise ValueError(f"transformers opens VideoMAE with square patches only, got {height} x {width}; choose square")
    first: Any = encoder.blocks[0]
    last: Any = decoder.blocks[0]
    frames, *image_size = tokenizer.input_size
    return {
        "architectures": ["VideoMAEForPreTraining"],
        "model_type": "videomae",
        "hidden_size": encoder.dim,
        "num_hidden_layers": len(encoder.blocks),
        "num_attention_heads": first.attn.num_heads,
        "intermediate_size": first.mlp.fc1.out_features,
        "qkv_bias": first.attn.qkv.bias is not None,
        "hidden_act": "gelu",
        "layer_norm_eps": first.norm1.eps,
        "image_size": image_size[0] if len(set(image_size)) == 1 else image_size,
        "patch_size": patch_size[0],
        "num_channels": tokenizer.channels,
        "num_frames": frames,
        "tubelet_size": tubelet,
        "use_mean_pooling": isinstance(encoder.norm, nn.Identity),
        "decoder_hidden_size": decoder.project.out_features,
        "decoder_num_hidden_layers": len(decoder.blocks),
        "decoder_num_attention_heads": last.attn.num_heads,
        "decoder_intermediate_size": last.mlp.fc1.out_features,
        "norm_pix_loss": isinstance(model.target, NormalizedContents),
        "attention_probs_dropout_prob": 0.0,
        "hidden_dropout_prob": 0.0,
    }
