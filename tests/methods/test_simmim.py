"""SimMIM on every modality: its parts, its settings by name, and whole runs on a few real files."""

import importlib
import json
import pickle
import subprocess
import sys
import wave
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit import weights
from maskkit.cli import main
from maskkit.decoder import LinearDecoder
from maskkit.encoder import DenseEncoder
from maskkit.losses import L1, Chamfer
from maskkit.maskers import Uniform, UnitMasker
from maskkit.methods import find_method
from maskkit.methods.simmim import SimMIM
from maskkit.modalities import image
from maskkit.modality import find_modality
from maskkit.optim import AdamW
from maskkit.testing import check_masker, check_model

# What fits the sample of each modality.
SIZES = {
    "image": {"image_size": 8, "patch_size": 2, "channels": 1},
    "audio": {"frames": 96, "mels": 64},
    "video": {"frames": 8, "image_size": 16, "patch_size": 4, "channels": 1},
    "points": {"num_points": 256, "num_groups": 16, "group_size": 16},
}


def model_of(name, **settings):
    torch.manual_seed(0)
    return importlib.import_module(f"maskkit.modalities.{name}").model("simmim", "tiny", **SIZES[name], **settings)


@pytest.mark.parametrize("name", SIZES)
def test_it_keeps_the_laws_on_every_modality(name):
    model, batch = model_of(name), find_modality(name).sample(3)
    check_masker(model.masker, model.tokenizer(batch))
    check_model(model, batch)
    assert isinstance(model.encoder, DenseEncoder) and isinstance(model.decoder, LinearDecoder)
    wanted = (Uniform, Chamfer) if name == "points" else (UnitMasker, L1)
    assert (type(model.masker), type(model.loss)) == wanted


@pytest.mark.parametrize("name", SIZES)
def test_its_settings_are_those_of_the_method_and_of_the_inputs(name):
    modality = find_modality(name)
    kind = find_method(modality, "simmim")
    names = [each.name for each in fields(kind)]
    assert {"size", "mask_ratio", "unit", "drop_path"} <= set(names)
    assert {each.name for each in fields(modality.input_settings)} <= set(names)
    assert importlib.import_module(f"maskkit.modalities.{name}").METHODS["simmim"] is kind
    assert kind is find_method(modality, "simmim") and kind.__doc__ == SimMIM.__doc__


def test_a_model_by_name_has_the_sizes_asked_for():
    model = image.model("simmim", "tiny", image_size=32, patch_size=4)
    assert model.encoder.dim == 192 and len(model.encoder.blocks) == 12
    assert model.tokenizer.input_size == (32, 32) and model.tokenizer.channels == 3
    out = model.eval()(torch.rand(2, 3, 32, 32))
    assert out.mask.hidden.shape == (2, 40) and out.prediction.shape == (2, 40, 48)  # ceil(0.6 x 16) units of 4 tokens
    assert out.loss.item() == pytest.approx((out.prediction - out.value).abs().mean().item(), rel=1e-5)
    assert image.model("simmim", **SIZES["image"], size="small").encoder.dim == 384


@pytest.mark.parametrize(
    ("words", "settings", "message"),
    [
        (("simmin",), {}, "image has no method 'simmin'; it has mae, simmim"),
        (("simmim", "giant"), {}, "size must be one of tiny, small, base, large, huge, got 'giant'"),
        (("simmim", "tiny"), {"frames": 8}, "method simmim on image has no setting frames; it has "),
        (("simmim", "tiny"), {"norm_target": True}, "method simmim on image has no setting norm_target"),
        (("simmim", "tiny"), {"mask_ratio": 1.5}, r"--mask-ratio must lie in (0, 1), got 1.5"),
        (("simmim", "tiny"), {"image_size": 30, "patch_size": 4}, "30x30 is not divisible by patch 4x4"),
        (("simmim", "tiny"), {"image_size": 0}, "--image-size must be at least 1, got 0"),
    ],
)
def test_wrong_names_and_settings_are_one_line(words, settings, message):
    with pytest.raises(ValueError) as caught:
        image.model(*words, **settings)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "patch", "unit", "wanted"),
    [(224, 16, 2, (2, 2)), (28, 4, 2, (1, 1)), (32, 4, 4, (4, 4)), (8, 4, 2, (1, 1)), ((32, 24), 4, 2, (2, 2))],
)
def test_units_are_whole_or_single_tokens(size, patch, unit, wanted):
    inputs = image.inputs(image_size=size, patch_size=patch)
    assert SimMIM(unit=unit).masker(inputs).unit == wanted


def test_the_rate_is_the_authors_and_small_models_train_faster():
    assert SimMIM(size="base").optim(2048) == AdamW(lr=4e-4, betas=(0.9, 0.999), weight_decay=0.05)
    assert SimMIM(size="tiny").optim(64).lr == 5e-4 and SimMIM(size="tiny").optim(4096).lr == 8e-4


def test_weights_start_as_the_authors_do():
    encoder = model_of("image").encoder
    linear = [layer for layer in encoder.modules() if isinstance(layer, torch.nn.Linear)]
    numbers = torch.cat([layer.weight.detach().flatten() for layer in linear])
    assert numbers.abs().max() <= 0.02 and numbers.std() == pytest.approx(0.02 * 0.54, rel=0.02)  # cut at 1 deviation
    assert not any(layer.bias.any() for layer in linear)


@pytest.mark.parametrize("name", SIZES)
def test_settings_come_back_from_a_pickle(name):
    kind = find_method(find_modality(name), "simmim")
    settings = kind(size="tiny", mask_ratio=0.5, **SIZES[name])
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings and type(again) is kind


def test_settings_go_to_a_new_process(tmp_path):
    """In which nothing of the composed class exists before."""
    settings = find_method(find_modality("image"), "simmim")(size="tiny", **SIZES["image"])
    (file := tmp_path / "settings.pickle").write_bytes(pickle.dumps(settings))
    read = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).build().encoder.dim)"
    done = subprocess.run([sys.executable, "-c", read, file], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "192", done.stderr


def picture(path, rng):
    Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(path.with_suffix(".png"))


def recording(path, rng):
    with wave.open(str(path.with_suffix(".wav")), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(rng.integers(-9999, 9999, 12_000, dtype=np.int16).tobytes())


def clip(path, rng):
    pages = [Image.fromarray(frame) for frame in rng.integers(0, 255, (10, 16, 16), dtype=np.uint8)]
    pages[0].save(path.with_suffix(".gif"), save_all=True, append_images=pages[1:], duration=40)


def cloud(path, rng):
    np.save(path.with_suffix(".npy"), rng.normal(size=(300, 3)).astype(np.float32))


FILES = {
    "image": (picture, ["--image-size", 12, "--patch-size", 3]),
    "audio": (recording, ["--frames", 64, "--mels", 32]),
    "video": (clip, ["--frames", 8, "--image-size", 16, "--patch-size", 4, "--stride", 1]),
    "points": (cloud, ["--num-points", 256, "--num-groups", 16, "--group-size", 16]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_it_trains_from_the_command_line_on_files_of_every_modality(name, tmp_path, capsys):
    write, flags = FILES[name]
    for number in range(6):
        file = tmp_path / "data" / "ab"[number % 2] / str(number)
        file.parent.mkdir(parents=True, exist_ok=True)
        write(file, np.random.default_rng(number))
    words = ["pretrain", name, "--method", "simmim", "--size", "tiny", "--data", tmp_path / "data", *flags]
    words += ["--out", tmp_path / "run", "--steps", 2, "--batch", 3, "--workers", 0, "--log-every", 1]
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (record["method"], record["modality"]) == ("simmim", name)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2] and all(row["loss"] > 0 for row in rows)
    assert len(list((tmp_path / "run" / "pictures").glob("*.png"))) == 1
    assert isinstance(weights.open_model(tmp_path / "run" / "model.safetensors").encoder, DenseEncoder)
    words = ["embed", tmp_path / "run", "--data", tmp_path / "data", "--out", tmp_path / "f.npz", "--workers", 0]
    assert main([str(word) for word in words]) == 0, capsys.readouterr().err
    found = np.load(tmp_path / "f.npz")
    assert found["features"].shape == (6, 192) and np.isfinite(found["features"]).all()
    assert sorted(found["labels"]) == ["a"] * 3 + ["b"] * 3


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--unit", "0"], "--unit must be at least 1, got 0"),
        (["--mask-ratio", "1.5"], "--mask-ratio must lie in (0, 1), got 1.5"),
        (["--drop-path", "1"], "--drop-path must lie in [0, 1), got 1.0"),
    ],
)
@pytest.mark.parametrize("name", SIZES)
def test_values_out_of_range_are_one_line(name, words, line, tmp_path, capsys):
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--method", "simmim", *words]
    assert main(["pretrain", name, *words]) == 2
    assert capsys.readouterr().err.strip().splitlines() == [f"maskkit: {line}"]


def test_checks_of_the_inputs_count_beside_those_of_the_method():
    with pytest.raises(ValueError, match="--patch-size must be at least 1, got 0"):
        find_method(find_modality("image"), "simmim")(patch_size=0)
