"""What the command makes of its options, and how data sets are opened for a model."""

import numpy as np
import pytest
import torch
from commands import settings_of

from maskkit.cli import main
from maskkit.commands.open_model import open_model
from maskkit.data.source import Key
from maskkit.modalities import points
from maskkit.modalities.points.bench import PlainPort
from maskkit.modalities.points.transforms import Rotation, ScaleShift


@pytest.fixture
def cloud(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, points.sample(4).numpy())
    return path


@pytest.mark.parametrize("name", ["num_groups", "group_size", "num_points"])
def test_nought_is_no_size_and_not_taken_for_left_out(cloud, name):
    with pytest.raises(ValueError, match=f"--{name.replace('_', '-')} must be at least 1, got 0"):
        settings_of(points, "--data", cloud, "--out", "unused", f"--{name.replace('_', '-')}", 0)


def test_sizes_that_are_left_out_follow_the_points(cloud, capsys):
    settings = settings_of(points, "--data", cloud, "--out", "unused", "--num-points", 256)
    assert (settings.model.num_groups, settings.model.group_size) == (16, 32)
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_tokenizer_of_the_settings_is_that_of_the_model():
    settings = points.PointMAE(num_points=256, num_groups=7, features=3, skip_origin=None, dim=48, depth=1, heads=3)
    assert settings.spec().tokenizer == settings.build().tokenizer


@pytest.mark.parametrize(
    ("features", "column"),
    [((), None), (("normals",), 3), (("intensity", "colours", "normals"), 7), (("colours",), None)],
)
def test_normals_are_found_wherever_they_are(tmp_path, features, column):
    (tmp_path / "a.xyz").write_text("0 0 0\n")
    width = sum({"normals": 3, "colours": 3, "intensity": 1}[name] for name in features)
    tokenizer = points.Groups(features=width)
    source = points.open_clouds(tmp_path, tokenizer, train=True, rotate="y", features=features)
    steps = [step for step in source.transform.steps if isinstance(step, Rotation | ScaleShift)]
    assert [step.normals_at for step in steps] == [column, column]


def test_the_peer_of_the_bench_stays_on_its_device():
    port = PlainPort(dim=48).to("meta")
    centres, groups = port.group(torch.empty(2, 200, 3, device="meta"))
    assert centres.shape == (2, 64, 3) and groups.shape == (2, 64, 32, 3) and groups.is_meta


def test_a_run_is_measured_on_the_features_it_was_trained_on(tmp_path):
    """Three numbers a point are normals as well as colours; the command line reads them as the run did."""
    kinds = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [
        (c, "u1") for c in ("red", "green", "blue")
    ]
    cloud = np.zeros(80, dtype=kinds)
    for name, values in zip("xyz", np.random.default_rng(0).normal(size=(3, 80)), strict=True):
        cloud[name] = values
    cloud["nz"], cloud["red"], cloud["green"], cloud["blue"] = 1, 51, 51, 51
    lines = ["ply", "format binary_little_endian 1.0", "element vertex 80"]
    lines += [f"property {'float' if kind == '<f4' else 'uchar'} {name}" for name, kind in kinds] + ["end_header", ""]
    (tmp_path / "clouds").mkdir()
    for name in ("a", "b"):
        (tmp_path / "clouds" / f"{name}.ply").write_bytes("\n".join(lines).encode() + cloud.tobytes())
    words = ["--num-points", "64", "--features", "colours", "--size", "tiny", "--steps", "1"]
    run, where = str(tmp_path / "run"), str(tmp_path / "clouds")
    assert main(["pretrain", "points", "--data", where, "--out", run, "--workers", "0", *words]) == 0
    opened = open_model(tmp_path / "run")
    model, data = opened.model, opened.data
    sample = data.at(where).open(model.tokenizer, train=False).read(Key.of(0), torch.Generator().manual_seed(0))
    torch.testing.assert_close(sample[:, 3:], torch.full((64, 3), 0.2))
    assert main(["embed", run, "--data", where, "--out", str(tmp_path / "features.npz")]) == 0
