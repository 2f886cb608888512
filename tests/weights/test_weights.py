"""Files, reports and refusals, for the layouts whose meaning needs no other library."""

import argparse
import json
import os

import pytest
import torch

from maskkit import weights
from maskkit.modalities import image
from maskkit.weights.files import write


@pytest.fixture
def model():
    torch.manual_seed(0)
    return image.mae("tiny", image_size=(32, 48), patch_size=8).eval()


def same(left, right) -> bool:
    left, right = left.state_dict(), right.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize("layout", ["maskkit", "mae", "hf"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_out_and_in_is_the_identity(model, tmp_path, layout, suffix):
    path = weights.save(model, tmp_path / f"model{suffix}", layout=layout)
    other = image.mae("tiny", image_size=(32, 48), patch_size=8)
    report = weights.load(other, path)
    assert report.layout == layout and not report.unused
    assert same(model, other)


def test_a_file_alone_gives_the_model(model, tmp_path):
    path = weights.save(model, tmp_path / "model.safetensors")
    again = weights.open_model(path)
    batch = torch.randint(0, 256, (2, 3, 32, 48), dtype=torch.uint8)
    out = model(batch)
    assert torch.equal(again.eval()(batch, mask=out.mask).loss, out.loss)


def test_opening_a_model_leaves_the_global_generator_alone(model, tmp_path):
    path = weights.save(model, tmp_path / "model.safetensors")
    state = torch.get_rng_state()
    weights.open_model(path)
    assert torch.equal(state, torch.get_rng_state())


def test_the_authors_names(model):
    names = set(weights.convert(model, "mae"))
    assert {"cls_token", "pos_embed", "patch_embed.proj.weight", "mask_token", "decoder_pos_embed"} <= names
    assert {"blocks.0.attn.qkv.weight", "decoder_blocks.3.mlp.fc2.bias", "norm.weight", "decoder_pred.bias"} <= names
    kernel = weights.convert(model, "mae")["patch_embed.proj.weight"]
    batch = torch.randn(2, 3, 32, 48)
    ours = model.encoder.embed(model.tokenizer(batch).x)
    theirs = torch.nn.functional.conv2d(batch, kernel, model.encoder.embed.bias, stride=8).flatten(2).transpose(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_the_table_follows_the_authors_formula(model):
    """Written out from pos_embed.py: meshgrid(w, h), first half from the column, sines then cosines."""
    table = weights.convert(model, "mae")["pos_embed"][0]
    assert not table[0].any()
    row, column, quarter = 2, 5, model.encoder.dim // 4
    omega = 1 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    expected = torch.cat([(column * omega).sin(), (column * omega).cos(), (row * omega).sin(), (row * omega).cos()])
    assert torch.allclose(table[1 + row * 6 + column], expected.float(), atol=1e-6)


def test_an_authors_checkpoint_with_its_command_line(model, tmp_path):
    state = {f"module.{name}": tensor for name, tensor in weights.convert(model, "mae").items()}
    content = {"model": state, "args": argparse.Namespace(lr=0.1), "epoch": 3}
    torch.save(content, tmp_path / "checkpoint.pth")
    other = image.mae("tiny", image_size=(32, 48), patch_size=8)
    assert weights.load(other, tmp_path / "checkpoint.pth").layout == "mae"
    assert same(model, other)


def test_a_release_without_decoder(model, tmp_path):
    state = {
        name: t for name, t in weights.convert(model, "mae").items() if "decoder" not in name and name != "mask_token"
    }
    other = image.mae("tiny", image_size=(32, 48), patch_size=8)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=r"lacks decoder.*holds no decoder.*part='encoder'"):
        weights.load(other, state, layout="mae")
    assert all(torch.equal(before[name], tensor) for name, tensor in other.state_dict().items())
    weights.load(other, state, layout="mae", part="encoder")
    assert torch.equal(other.encoder.embed.weight, model.encoder.embed.weight)
    assert torch.equal(other.decoder.head.weight, before["decoder.head.weight"])


@pytest.mark.parametrize("layout", ["mae", "hf"])
def test_a_table_of_another_grid_raises_and_names_both(model, layout):
    state = weights.convert(model, layout)
    for size, grid in (((48, 32), "6x4"), ((32, 32), "4x4"), ((16, 96), "2x12")):
        other = image.mae("tiny", image_size=size, patch_size=8)
        with pytest.raises(ValueError, match=rf"grid 4x6.*grid is {grid}"):
            weights.load(other, state, layout=layout)
        report = weights.load(other, state, layout=layout, resize_positions=True)
        assert any("made anew" in note for note in report.notes)
        batch = torch.randn(1, 3, 32, 48)
        assert torch.equal(other.eval().encode(batch).tokens, model.encode(batch).tokens)


def test_another_architecture_names_the_keys(model):
    with pytest.raises(ValueError, match=r"another architecture: encoder\.prefix is \[1, 1, 192\] there"):
        weights.load(image.mae("small", image_size=(32, 48), patch_size=8), weights.convert(model))
    with pytest.raises(ValueError, match=r"encoder\.embed\.weight is \[192, 192\] there and \[192, 64\] here"):
        weights.load(image.mae("tiny", image_size=(32, 48), patch_size=8, channels=1), weights.convert(model))


class Boom:
    def __reduce__(self):
        return os.mkdir, ("boom",)


def test_loading_never_runs_code(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": Boom()}, "boom.pth")
    with pytest.raises(ValueError, match="without running code"):
        weights.load(model, "boom.pth")
    assert not (tmp_path / "boom").exists()
    path = weights.save(model, tmp_path / "model.safetensors")
    from safetensors.torch import load_file, save_file

    save_file(load_file(path), path, metadata={"maskkit": json.dumps({"part": "system", "command": "mkdir boom"})})
    with pytest.raises(ValueError, match="names a part 'system' that is not loaded"):
        weights.open_model(path)


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth"])
def test_broken_files_get_one_line(model, tmp_path, name):
    path = weights.save(model, tmp_path / name)
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], b"not weights at all"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=name) as error:
            weights.load(model, path)
        assert "\n" not in str(error.value)


def test_nothing_known_is_said_so(model):
    with pytest.raises(ValueError, match="no layout that maskkit knows"):
        weights.load(model, {"conv1.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="layout must be one of"):
        weights.save(model, "x", layout="keras")


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_names_under_wrappers_are_known(wrapper):
    model, other = image.mae("tiny", image_size=32), image.mae("tiny", image_size=32)
    weights.load(other, {wrapper + name: tensor for name, tensor in weights.convert(model, "mae").items()}, "mae")
    assert torch.equal(model.encoder.embed.weight, other.encoder.embed.weight)


def test_our_own_names_are_known_whatever_the_encoder_is(tmp_path):
    """An encoder need not have the layers that ours have for a file of ours, or its state dict, to be recognised."""
    model = image.mae("tiny", image_size=(32, 48), patch_size=8)
    model.encoder = torch.nn.Sequential(torch.nn.Linear(8, 8))
    path = write(model.state_dict(), tmp_path / "model.safetensors", {"layout": "maskkit"})
    for source in (path, model.state_dict()):
        assert weights.load(model, source).layout == "maskkit"
