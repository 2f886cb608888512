"""The methods have the authors' parts, sizes and quirks, and take clips of any length and shape."""

import math

import pytest
import torch

from maskkit import weights
from maskkit.modalities import video
from maskkit.modalities.video.videomae import SIZES
from maskkit.positions import SeparableTable
from maskkit.targets import Contents, NormalizedContents, SlicedContents
from maskkit.testing import check_masker, check_modality, check_model, check_tokenizer

SMALL = {"frames": 4, "image_size": (32, 48)}


def test_the_modality_keeps_all_laws():
    check_modality(video)


@pytest.mark.parametrize("settings", [{}, {"norm_target": False}, {"pred_t_dim": 4}, {"channels": 5}])
@pytest.mark.parametrize("method", [video.videomae, video.mae_st])
def test_models_keep_the_laws(method, settings):
    if method is video.videomae:
        settings = {name: value for name, value in settings.items() if name != "pred_t_dim"}
    model = method("tiny", mask_ratio=0.75, **SMALL, **settings)
    batch = torch.randn(3, model.tokenizer.channels, 4, 32, 48)
    check_masker(model.masker, check_tokenizer(model.tokenizer, batch))
    check_model(model, batch)


def test_videomae_sees_160_of_1568_tokens_in_tubes():
    model = video.videomae("tiny")
    tokens = model.tokenizer(torch.zeros(2, 3, 16, 224, 224, dtype=torch.uint8))
    mask = model.masker(tokens, torch.Generator().manual_seed(0))
    assert tokens.grid == (8, 14, 14) and mask.visible.shape == (2, 160) and mask.hidden.shape == (2, 1408)
    cells = (mask.visible % 196).view(2, 8, 20)
    assert (cells == cells[:, :1]).all() and (mask.visible // 196).view(2, 8, 20)[0, :, 0].tolist() == list(range(8))


@pytest.mark.parametrize(
    ("size", "encoder", "decoder"),
    [("small", (384, 12, 6), (192, 4, 3)), ("base", (768, 12, 12), (384, 4, 6))],
)
def test_videomae_has_the_published_sizes(size, encoder, decoder):
    model = video.videomae(size)
    for part, (dim, depth, heads) in ((model.encoder, encoder), (model.decoder, decoder)):
        assert (len(part.blocks), part.blocks[0].attn.num_heads) == (depth, heads)
        assert part.blocks[0].attn.proj.out_features == dim and part.norm.eps == 1e-6
    assert model.encoder.prefix.shape[1] == 0 and model.decoder.project.bias is None
    assert isinstance(model.target, NormalizedContents) and model.target.epsilon == "outside"


@pytest.mark.parametrize(("size", "depth"), [("large", 12), ("huge", 12)])
def test_larger_decoders_are_deeper(size, depth):
    with torch.device("meta"):
        assert SIZES[size][1][1] == depth


def test_videomae_starts_as_the_authors_code_does():
    torch.manual_seed(0)
    model = video.videomae("small")
    assert model.decoder.mask_token.abs().max() <= 0.02 + 1e-6  # V4, cut at one deviation
    limit = 1 / math.sqrt(384)  # V3, torch's default
    assert 0.98 * limit < model.decoder.project.weight.abs().max() <= limit
    assert 0 < model.encoder.embed.bias.abs().max() <= 1 / math.sqrt(1536)
    xavier = math.sqrt(6 / (384 + 1536))
    assert 0.98 * xavier < model.encoder.blocks[3].mlp.fc1.weight.abs().max() <= xavier
    assert not model.encoder.blocks[3].attn.qkv.bias.any()


def test_mae_st_has_the_published_parts():
    model = video.mae_st("small")
    assert model.tokenizer.mean == (0.45,) * 3 and model.tokenizer.std == (0.225,) * 3
    assert isinstance(model.encoder.positions, SeparableTable) and model.encoder.positions.grid == (8, 14, 14)
    assert model.encoder.prefix.shape == (1, 1, 384) and model.decoder.prefix.shape == (1, 1, 512)
    assert not model.decoder.keep_prefix and len(model.decoder.blocks) == 4
    assert isinstance(model.target, SlicedContents) and model.decoder.head.out_features == 768
    mask = model.masker(model.tokenizer(torch.zeros(1, 3, 16, 224, 224)))
    assert mask.visible.shape == (1, 156)  # int(1568 x (1 - 0.9)), anywhere
    assert len((mask.visible % 196).unique()) > 60
    assert isinstance(video.mae_st("tiny", **SMALL, norm_target=False, pred_t_dim=4).target, Contents)
    with pytest.raises(ValueError, match="pred_t_dim must be a multiple of the 8 slots"):
        video.mae_st("tiny", pred_t_dim=12)


def test_mae_st_starts_q_k_and_v_as_layers_of_their_own():
    torch.manual_seed(0)
    model = video.mae_st("small")
    for part, dim in ((model.encoder, 384), (model.decoder, 512)):
        bound = math.sqrt(6 / (2 * dim))
        for block in part.blocks:
            for weight in block.attn.qkv.weight.chunk(3):
                assert 0.99 * bound < weight.abs().max() <= bound
            assert not block.attn.qkv.bias.any()
        assert part.blocks[1].mlp.fc1.weight.abs().max() <= math.sqrt(6 / (5 * dim))  # others as before


@pytest.mark.parametrize(("tubelet", "kept"), [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)])
def test_mae_st_predicts_half_of_a_tubelet_of_any_length(tubelet, kept):
    model = video.mae_st("tiny", frames=3 * tubelet, tubelet=tubelet, image_size=32, mask_ratio=0.75)
    assert model.decoder.head.out_features == kept * 768
    assert model(torch.randn(2, 3, 3 * tubelet, 32, 32)).loss.isfinite()


def test_mae_sts_target_is_the_frames_it_says():
    """forward_loss of models_mae.py, written out: frames linspace(0, 15, 8), patches in the order (p, q, c)."""
    model = video.mae_st("tiny", image_size=32)
    batch = torch.randn(2, 3, 16, 32, 32)
    out = model(batch)
    frames = batch[:, :, torch.linspace(0, 15, 8).long()]
    patches = frames.reshape(2, 3, 8, 2, 16, 2, 16).permute(0, 2, 3, 5, 4, 6, 1).reshape(2, 32, 768)
    mean, var = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    wanted = (patches - mean) / (var + 1e-6).sqrt()
    wanted = wanted.gather(1, out.mask.hidden[..., None].expand(-1, -1, 768))
    assert (out.value - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("method", [video.videomae, video.mae_st])
def test_clips_of_other_lengths_and_shapes_are_encoded(method, tmp_path):
    model = method("tiny", frames=8, image_size=32).eval()
    for frames, height, width in ((8, 32, 32), (16, 32, 32), (4, 48, 80), (2, 16, 16)):
        batch = torch.randn(2, 3, frames, height, width)
        latent = model.encode(batch)
        assert latent.tokens.shape == (2, frames // 2 * height // 16 * width // 16, 192)
        assert latent.pooled.isfinite().all()
    with pytest.raises(ValueError, match="frames is 7; crop it to 6"):
        model.encode(torch.randn(1, 3, 7, 32, 32))
    again = weights.open_model(weights.save(model, tmp_path / "model.safetensors"))
    batch = torch.randn(1, 3, 8, 32, 32)
    assert torch.equal(again.encode(batch).pooled, model.encode(batch).pooled)


def test_a_misspelt_argument_is_named():
    with pytest.raises(ValueError, match="video.videomae has no argument maskers"):
        video.videomae("tiny", maskers=None)
    with pytest.raises(ValueError, match="size must be one of"):
        video.mae_st("giant")
