"""What was published stays what it was: the presets to the bit, and files that an earlier version wrote."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from maskkit import cli, weights
from maskkit.modalities import image  # noqa: F401  # whose parts a model file names

ROOT = Path(__file__).parents[1]
GUARD = Path(__file__).parent / "guard"
BEFORE = "f44f13007e5b8d28e28f22a0b524c92c35e198c7"  # the last revision before the contracts were revised
RECORDED_UNDER = "2.14."  # torch's own initial weights of a seed differ between versions


def passes(path):
    """Run the presets in a process of its own, with the packages at ``path`` in front."""
    environment = os.environ | {"PYTHONPATH": str(path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, GUARD / "passes.py"], capture_output=True, text=True, check=True, cwd="/", env=environment
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def now():
    return passes("")


@pytest.mark.slow
def test_presets_compute_what_they_did_before_to_the_bit(now, tmp_path):
    archive = subprocess.run(["git", "archive", BEFORE, "maskkit", "modalities"], capture_output=True, cwd=ROOT)
    if archive.returncode != 0:
        pytest.skip(f"revision {BEFORE[:7]} is not in this clone: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as opened:
        opened.extractall(tmp_path, filter="data")
    (tmp_path / "modalities").rename(tmp_path / "maskkit" / "modalities")
    before = passes(tmp_path)
    assert before.keys() == now.keys() and len(now) == 16
    for name in before:
        assert now[name] == before[name], name


def test_presets_have_their_recorded_names_and_losses(now):
    """Recorded on another machine, so losses agree to rounding, where torch draws the same numbers for a seed."""
    recorded = json.loads((GUARD / "recorded.json").read_text())
    assert recorded.keys() == now.keys()
    for name, row in recorded.items():
        assert now[name]["names"] == row["names"], name
        if not torch.__version__.startswith(RECORDED_UNDER):
            continue
        tolerance = 1e-5 if name.endswith("fp32") else 1e-2
        assert now[name]["loss"] == pytest.approx(row["loss"], rel=tolerance), name


@pytest.fixture
def files(tmp_path):
    return Path(shutil.copytree(GUARD / "files", tmp_path / "files"))


def test_a_model_file_of_an_earlier_version_opens(files):
    model = weights.open_model(files / "model.safetensors")
    stored = load_file(files / "model.safetensors")
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())


def test_a_run_of_an_earlier_version_is_opened_and_exported(files, capsys):
    run, data = str(files / "run"), str(files / "digits.npz")
    assert cli.main(["embed", run, "--data", data, "--out", str(files / "features.npz")]) == 0
    assert cli.main(["reconstruct", run, data, "--limit", "2", "--out", str(files / "picture.png")]) == 0
    assert cli.main(["export", run, "--layout", "timm", "--out", str(files / "timm.safetensors")]) == 0
    assert "blocks.0.attn.qkv.weight" in load_file(files / "timm.safetensors")
    (files / "run" / "model.safetensors").unlink()  # its checkpoint alone will do
    assert cli.main(["export", run, "--out", str(files / "again.safetensors")]) == 0
    exported, kept = load_file(files / "again.safetensors"), load_file(GUARD / "files" / "run" / "model.safetensors")
    assert exported.keys() == kept.keys() and all(torch.equal(exported[name], kept[name]) for name in kept)


def test_a_run_of_an_earlier_version_goes_on(files, monkeypatch):
    """The run that was stopped at step 2 ends with the weights of the one that was not."""
    from maskkit.modalities.image.mae import MAE, SIZES

    monkeypatch.setitem(SIZES, "nano", ((16, 1, 2), (16, 1, 2)))  # its size, which is none of the published ones
    monkeypatch.setitem(MAE.__annotations__, "size", str | None)
    words = ["pretrain", "image", "--data", str(files / "digits.npz"), "--out", str(files / "stopped"), "--resume"]
    assert cli.main([*words, "--device", "cpu"]) == 0
    ended, never_stopped = (load_file(files / name / "model.safetensors") for name in ("stopped", "run"))
    for name, tensor in never_stopped.items():
        assert torch.allclose(ended[name], tensor, atol=1e-5), name
