"""timm reads what we write and we read what timm writes."""

import pytest
import timm
import torch

from maskkit import weights
from maskkit.modalities import image


def test_timm_loads_what_we_export(tmp_path):
    torch.manual_seed(0)
    model = image.mae("base").eval()
    path = weights.save(model, tmp_path / "encoder.safetensors", layout="timm")
    encoder = timm.create_model("vit_base_patch16_224", num_classes=0, checkpoint_path=str(path)).eval()
    batch = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected, latent = encoder.forward_features(batch), model.encode(batch)
    assert (latent.prefix - expected[:, :1]).abs().max() <= 1e-5
    assert (latent.tokens - expected[:, 1:]).abs().max() <= 1e-5


def test_we_load_what_timm_saves():
    torch.manual_seed(0)
    encoder = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8).eval()
    torch.nn.init.normal_(encoder.cls_token)
    model = image.mae("tiny", image_size=64, patch_size=8).eval()
    report = weights.load(model, encoder.state_dict(), layout="timm")
    assert set(report.unused) == {"head.weight", "head.bias"}
    assert any("not sine-cosine" in note for note in report.notes)
    batch = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, latent = encoder.forward_features(batch), model.encode(batch)
    assert (latent.prefix - expected[:, :1]).abs().max() <= 1e-5
    assert (latent.tokens - expected[:, 1:]).abs().max() <= 1e-5


def test_a_learned_table_survives_saving(tmp_path):
    encoder = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8)
    model = image.mae("tiny", image_size=64, patch_size=8)
    weights.load(model, encoder.state_dict(), layout="timm")
    again = weights.open_model(weights.save(model, tmp_path / "model.safetensors"))
    batch = torch.randn(1, 3, 64, 64)
    assert torch.equal(model.eval().encode(batch).tokens, again.eval().encode(batch).tokens)


def test_a_layer_that_we_lack_raises():
    encoder = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, init_values=1e-5)
    with pytest.raises(ValueError, match=r"layers that this model lacks: encoder\.blocks\.0\.ls1\.gamma"):
        weights.load(image.mae("tiny", image_size=64, patch_size=8), encoder.state_dict(), layout="timm")


def test_an_encoder_with_a_mask_token_leaves_it_out_and_keeps_its_own(tmp_path):
    """SimMIM hides tokens by a mask token in the encoder, which timm's models do not have."""
    torch.manual_seed(0)
    model = image.model("simmim", "tiny", image_size=64, patch_size=8).eval()
    state = weights.convert(model, "timm")
    assert not any("mask_token" in name for name in state)
    encoder = timm.create_model("vit_tiny_patch16_224", img_size=64, patch_size=8, num_classes=0).eval()
    encoder.load_state_dict(state)
    batch = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert (model.encode(batch).tokens - encoder.forward_features(batch)[:, 1:]).abs().max() <= 1e-5

    other = image.model("simmim", "tiny", image_size=64, patch_size=8)
    token = other.state_dict()["encoder.mask_token"].clone()
    report = weights.load(other, state, layout="timm")
    assert torch.equal(other.state_dict()["encoder.mask_token"], token)
    assert any("mask token" in note for note in report.notes)
