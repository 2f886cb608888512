"""A folder that holds no run gives one line and exit code 2, whichever command is given it."""

import json
import shutil

import numpy as np
import pytest

from maskkit.cli import main
from maskkit.commands.open_model import open_model
from maskkit.modalities import image

RECORD = {"modality": "image", "settings": {"data": {"root": "x"}}, "model_parts": {"part": "Uniform", "ratio": 0.5}}
HUGGING_FACE = {"architectures": ["ViTMAEForPreTraining"], "hidden_size": 768, "model_type": "vit_mae"}


def config(folder, value):
    folder.mkdir()
    (folder / "config.json").write_text(value if isinstance(value, str) else json.dumps(value))


def with_checkpoint(folder, value):
    config(folder, value)
    (folder / "checkpoints" / "step-00000001").mkdir(parents=True)


FOLDERS = {
    "no folder": (lambda folder: None, "there is no such folder"),
    "a file": (lambda folder: folder.write_text("x"), "it has no config.json"),
    "an empty folder": (lambda folder: folder.mkdir(), "it has no config.json"),
    "a folder called config.json": (lambda folder: (folder / "config.json").mkdir(parents=True), "no config.json"),
    "not JSON": (lambda folder: config(folder, "model: vit"), "its config.json is not JSON"),
    "an empty file": (lambda folder: config(folder, ""), "its config.json is not JSON"),
    "a list": (lambda folder: config(folder, "[1, 2]"), "lacks modality, settings, model_parts"),
    "a number": (lambda folder: config(folder, "7"), "lacks modality, settings, model_parts"),
    "Hugging Face": (lambda folder: config(folder, HUGGING_FACE), "config.json of a Hugging Face model lacks modality"),
    "missing settings": (
        lambda folder: config(folder, {"modality": "image", "model_parts": {}}),
        "its config.json lacks settings",
    ),
    "unknown modality": (lambda folder: config(folder, RECORD | {"modality": "smell"}), "there is no modality 'smell'"),
    "settings that are a list": (lambda folder: config(folder, RECORD | {"settings": []}), "has no data settings"),
    "no data settings": (lambda folder: config(folder, RECORD | {"settings": {}}), "has no data settings"),
    "other data settings": (
        lambda folder: config(folder, RECORD | {"settings": {"data": {"root": "x", "colour": "red"}}}),
        "its data settings do not fit this version of maskkit",
    ),
    "no model": (lambda folder: config(folder, RECORD), "holds no model yet"),
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    pixels, labels = image.digits()
    np.savez(path, images=pixels[:20], labels=labels[:20])
    return path


@pytest.mark.parametrize("command", ["probe", "embed", "reconstruct", "export"])
@pytest.mark.parametrize("name", FOLDERS)
def test_no_run_is_one_line(command, name, digits, tmp_path, capsys):
    make, message = FOLDERS[name]
    make(tmp_path / "run")
    words = {
        "probe": ["--data", digits],
        "embed": ["--data", digits, "--out", tmp_path / "f.npz"],
        "reconstruct": [digits, "--out", tmp_path / "f.png"],
        "export": ["--out", tmp_path / "f.safetensors"],
    }[command]
    code = main([command, str(tmp_path / "run"), *map(str, words)])
    lines = capsys.readouterr().err.splitlines()
    assert code == 2 and len(lines) == 1
    assert lines[0].startswith("maskkit: ") and message in lines[0]


def test_a_run_of_a_part_that_is_no_model(tmp_path, monkeypatch):
    with_checkpoint(tmp_path / "run", RECORD)
    monkeypatch.setattr("maskkit.engine.checkpoints.all_checkpoints", lambda folder: [folder / "step-00000001"])
    with pytest.raises(ValueError, match="the configuration describes a Uniform, not a MaskedModel"):
        open_model(tmp_path / "run")


def test_a_run_opens_with_its_modality_and_data_settings(digits, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["pretrain", "image", "--data", digits, "--out", out, "--steps", 1, "--batch", 4, "--workers", 0]
    assert main([str(word) for word in words]) == 0
    opened = open_model(out)
    assert opened.modality is image.MODALITY
    assert opened.data.root == str(digits) and opened.data.at("y").root == "y"
    (out / "model.safetensors").unlink()
    again = open_model(out)  # from the checkpoint
    for name, tensor in opened.model.state_dict().items():
        assert tensor.equal(again.model.state_dict()[name])
    shutil.rmtree(out / "checkpoints")
    with pytest.raises(ValueError, match="holds no model yet"):
        open_model(out)


def test_an_older_checkpoint_serves_where_the_newest_is_damaged(tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", images=pixels)
    words = ["pretrain", "image", "--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "run"), "--steps", "4"]
    words += ["--batch", "8", "--size", "tiny", "--save-every", "2", "--workers", "0", "--device", "cpu"]
    assert main(words) == 0
    (tmp_path / "run" / "model.safetensors").unlink()
    checkpoints = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))
    for place, path in enumerate(reversed(checkpoints)):
        largest = max(path.glob("*.safetensors"), key=lambda file: file.stat().st_size)
        largest.write_bytes(largest.read_bytes()[:-100])
        code = main(
            ["embed", str(tmp_path / "run"), "--data", str(tmp_path / "d.npz"), "--out", str(tmp_path / "f.npz")]
        )
        said = capsys.readouterr().err
        assert f"checkpoint {path.name} is damaged and not used" in said and code == (0 if place == 0 else 2)
    assert "no checkpoint is whole; restore one from a copy" in said
