"""Parity with transformers' VideoMAEForPreTraining and with the authors' layout."""

import pytest
import torch
from transformers import VideoMAEConfig, VideoMAEForPreTraining

from maskkit import Mask, weights
from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.modalities import video
from maskkit.positions import FlatSinCos

TINY = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 192,
    "image_size": [32, 48],
    "patch_size": 8,
    "num_frames": 6,
    "decoder_hidden_size": 32,
    "decoder_num_hidden_layers": 2,
    "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 128,
}
SMALL = {
    "hidden_size": 384,
    "num_attention_heads": 6,
    "intermediate_size": 1536,
    "decoder_hidden_size": 192,
    "decoder_num_attention_heads": 3,
    "decoder_intermediate_size": 768,
}


def theirs(use_mean_pooling: bool = False, **settings) -> VideoMAEForPreTraining:
    torch.manual_seed(0)
    # The authors' epsilon and final norm; transformers' defaults are not what the checkpoints were trained with.
    config = VideoMAEConfig(layer_norm_eps=1e-6, use_mean_pooling=use_mean_pooling, **settings)
    model = VideoMAEForPreTraining(config).eval()
    with torch.no_grad():  # biases and norms start at 0 and 1, where a mix-up would not show
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
            if name == "mask_token":
                parameter.normal_(std=0.5)
    return model


def tiny(**settings) -> "video.MaskedModel":
    encoder = SparseEncoder(content=384, dim=48, depth=3, heads=4, positions=FlatSinCos(dim=48), prefix_tokens=0)
    decoder = JointDecoder(
        latent=48,
        dim=32,
        depth=2,
        heads=2,
        output=384,
        positions=FlatSinCos(dim=32),
        keep_prefix=False,
        project_bias=False,
    )
    sizes = {"frames": 6, "image_size": (32, 48), "patch_size": 8}
    return video.videomae("tiny", **sizes, encoder=encoder, decoder=decoder, **settings)


MODELS = {"tiny": (tiny, TINY), "small": (lambda **s: video.videomae("small", **s), SMALL)}
MODELS["base"] = (lambda **s: video.videomae("base", **s), {})


@pytest.mark.parametrize("norm_target", [True, False])
@pytest.mark.parametrize("size", ["tiny", "small", pytest.param("base", marks=pytest.mark.slow)])
def test_prediction_loss_and_gradient_agree_with_transformers(size, norm_target):
    build, config = MODELS[size]
    reference = theirs(norm_pix_loss=norm_target, **config)
    model = build(norm_target=norm_target).eval()
    report = weights.load(model, reference.state_dict(), layout="auto")
    assert report.layout == "hf" and not report.missing and not report.unused and len(report.notes) == 1

    frames, height, width = model.tokenizer.input_size
    batch = torch.randn(2, 3, frames, height, width)
    mask = model.masker(model.tokenizer(batch), torch.Generator().manual_seed(1))
    mask = Mask(visible=mask.visible.sort(1).values, hidden=mask.hidden.sort(1).values)
    hidden = torch.zeros(2, mask.visible.shape[1] + mask.hidden.shape[1], dtype=torch.bool)
    expected = reference(batch.transpose(1, 2), bool_masked_pos=hidden.scatter(1, mask.hidden, True))
    out = model(batch, mask=mask)
    # In the authors' order, hidden places ascend; ours come in the order of mask.hidden, which is sorted above.
    assert (out.prediction - expected.logits).abs().max() <= 1e-5
    assert (out.loss - expected.loss).abs() <= 1e-5
    expected.loss.backward()
    out.loss.backward()
    ours = model.encoder.blocks[0].mlp.fc1.weight.grad
    their = reference.videomae.encoder.layer[0].intermediate.dense.weight.grad
    assert (ours - their).abs().max() <= 1e-4 * their.abs().max()


def test_weights_without_the_encoders_last_norm_take_it_out(tmp_path):
    reference = theirs(use_mean_pooling=True, **TINY)
    model = tiny().eval()
    report = weights.load(model, reference.state_dict())
    assert "no final norm" in report.notes[0]
    batch = torch.randn(1, 3, 6, 32, 48)
    out = model(batch)
    hidden = torch.zeros(1, 72, dtype=torch.bool).scatter(1, out.mask.hidden, True)
    loss = reference(batch.transpose(1, 2), bool_masked_pos=hidden).loss
    assert (out.loss - loss).abs() <= 1e-5
    again = weights.open_model(weights.save(model, tmp_path / "model.safetensors"))
    assert torch.equal(again(batch, mask=out.mask).prediction, out.prediction)
    config = weights.save(model, tmp_path / "hf", layout="hf").parent
    assert VideoMAEForPreTraining.from_pretrained(config).videomae.layernorm is None


def test_what_we_write_transformers_opens(tmp_path):
    model = tiny().eval()
    with torch.no_grad():
        model.encoder.blocks[0].attn.qkv.bias.normal_()
    folder = weights.save(model, tmp_path / "hf", layout="hf").parent
    reference, info = VideoMAEForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    batch = torch.randn(1, 3, 6, 32, 48)
    out = model(batch)
    hidden = torch.zeros(1, 72, dtype=torch.bool).scatter(1, out.mask.hidden, True)
    # 1e-5 was the key bias's share if it counted; it has deviation 1 here and the loss does not move.
    assert (reference.eval()(batch.transpose(1, 2), bool_masked_pos=hidden).loss - out.loss).abs() <= 1e-5


def test_what_transformers_cannot_open_is_not_written(tmp_path):
    model = video.videomae("tiny", frames=4, image_size=32, patch_size=(8, 16))
    with pytest.raises(ValueError, match="square patches only, got 8 x 16"):
        weights.save(model, tmp_path / "hf", layout="hf")


def test_what_transformers_writes_we_open(tmp_path):
    reference = theirs(**TINY)
    reference.save_pretrained(tmp_path)
    model, other = tiny(), tiny()
    assert weights.load(model, tmp_path).layout == "hf"
    weights.load(other, reference.state_dict(), layout="hf")
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_the_authors_names_and_shapes():
    """As modeling_pretrain.py and modeling_finetune.py of MCG-NJU/VideoMAE name them."""
    state = weights.convert(video.videomae("small"), "videomae")
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert shapes["encoder.patch_embed.proj.weight"] == (384, 3, 2, 16, 16)
    assert shapes["encoder.blocks.11.attn.qkv.weight"] == (1152, 384)
    assert shapes["encoder.blocks.11.attn.q_bias"] == shapes["encoder.blocks.11.attn.v_bias"] == (384,)
    assert shapes["encoder_to_decoder.weight"] == (192, 384) and shapes["mask_token"] == (1, 1, 192)
    assert shapes["decoder.blocks.3.mlp.fc1.weight"] == (768, 192)
    assert shapes["decoder.head.weight"] == (1536, 192) and shapes["decoder.norm.bias"] == (192,)
    assert not {name for name in shapes if "pos_embed" in name or "prefix" in name or "qkv.bias" in name}
    assert "encoder_to_decoder.bias" not in shapes
    blocks = 12 * 13 + 4 * 13
    assert len(shapes) == blocks + len(["proj"] * 2 + ["norm"] * 2 + ["to", "mask"] + ["norm"] * 2 + ["head"] * 2)


@pytest.mark.parametrize("layout", ["videomae", "hf"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_export_and_import_is_the_identity(layout, suffix, tmp_path):
    model, other = tiny(), tiny()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    report = weights.load(other, weights.save(model, tmp_path / f"model{suffix}", layout=layout))
    assert report.layout == layout and not report.unused
    for (name, a), b in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        if name.endswith("attn.qkv.bias"):
            q, _, v = a.chunk(3)
            a = torch.cat([q, torch.zeros_like(q), v])
        assert torch.equal(a, b), name
    batch = torch.randn(1, 3, 6, 32, 48)
    out = model(batch)
    assert torch.allclose(other(batch, mask=out.mask).prediction, out.prediction, atol=1e-5)


def test_half_a_checkpoint_is_named():
    state = weights.convert(tiny(), "videomae")
    encoder = {name: tensor for name, tensor in state.items() if name.startswith("encoder.")}
    with pytest.raises(ValueError, match="it holds no decoder: load with part='encoder'"):
        weights.load(tiny(), encoder)
    weights.load(tiny(), encoder, part="encoder")
    with pytest.raises(ValueError, match="no place for class"):
        weights.convert(video.mae_st("tiny", frames=4, image_size=32), "videomae")


@pytest.mark.parametrize("layout", ["mae", "timm"])
def test_layouts_of_pictures_refuse_videos(layout):
    with pytest.raises(ValueError, match="for videos choose videomae or hf"):
        weights.convert(video.mae_st("tiny", frames=4, image_size=32), layout)
