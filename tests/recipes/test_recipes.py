"""Every recipe has the published settings and runs."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

RECIPES = Path(__file__).parents[2] / "recipes"


def module(name):
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    return folder


def test_mae_imagenet_is_the_authors():
    """main_pretrain.py and PRETRAIN.md of facebookresearch/mae."""
    settings = module("mae_imagenet").vit_base()
    assert settings.optim.lr == pytest.approx(1.5e-4 * 4096 / 256)
    assert settings.optim.betas == (0.9, 0.95) and settings.optim.weight_decay == 0.05
    assert (settings.batch, settings.epochs, settings.warmup_epochs) == (4096, 1600, 40)
    steps, warmup = settings.length(1_281_167)
    assert steps == pytest.approx(1600 * 1_281_167 / 4096, abs=1) and warmup == pytest.approx(steps / 40, abs=1)
    assert settings.model.norm_target and settings.model.mask_ratio == 0.75
    assert settings.data.min_scale == 0.2 and settings.data.flip
    assert module("mae_imagenet").vit_huge().model.size == "huge"


@pytest.mark.slow
def test_mae_imagenet_runs_two_steps(pictures, tmp_path):
    words = ["--data.root", pictures, "--out", tmp_path / "run", "--steps", 2, "--batch", 4, "--accumulate", 2]
    words += ["--model.size", "tiny", "--workers", 0, "--precision", "fp32", "--log-every", 1]
    command = [sys.executable, RECIPES / "mae_imagenet.py", *words]
    subprocess.run([str(word) for word in command], check=True, timeout=240)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)


def test_a_recipe_with_bad_data_says_so_in_one_line(tmp_path):
    command = [sys.executable, RECIPES / "mae_imagenet.py", "--data.root", tmp_path / "none", "--out", tmp_path / "run"]
    command += ["--model.size", "tiny"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.strip().count("\n") == 0 and "none" in result.stderr


def test_pointmae_shapenet_is_the_authors():
    """cfgs/pretrain.yaml and builder.py of Pang-Yatian/Point-MAE."""
    settings = module("pointmae_shapenet").point_mae()
    assert (settings.batch, settings.epochs, settings.warmup_epochs) == (128, 301, 10)
    assert settings.optim.lr == 1e-3 and settings.optim.betas == (0.9, 0.999) and settings.optim.weight_decay == 0.05
    assert settings.min_lr == 1e-6 and settings.clip is None and settings.precision == "fp32"
    model = settings.model
    assert (model.num_points, model.num_groups, model.group_size, model.mask_ratio) == (1024, 64, 32, 0.6)
    assert (model.dim, model.depth, model.heads, model.decoder_depth, model.drop_path) == (384, 12, 6, 4, 0.1)
    assert model.batch_norm == "all" and model.skip_origin == 1e-3 and settings.data.augment


@pytest.mark.slow
def test_pointmae_shapenet_runs_two_steps(tmp_path):
    """On a list as the authors lay it out."""
    (tmp_path / "ShapeNet-55").mkdir()
    (tmp_path / "shapenet_pc").mkdir()
    names = [f"0269115{n % 2}-{n:032x}.npy" for n in range(6)]
    for name in names:
        np.save(tmp_path / "shapenet_pc" / name, np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32))
    (tmp_path / "ShapeNet-55" / "train.txt").write_text("\n".join(names))
    words = ["--data.root", tmp_path / "ShapeNet-55" / "train.txt", "--out", tmp_path / "run", "--steps", 2]
    words += ["--batch", 2, "--model.dim", 96, "--model.depth", 2, "--workers", 0, "--log-every", 1]
    command = [sys.executable, RECIPES / "pointmae_shapenet.py", *words]
    subprocess.run([str(word) for word in command], check=True, timeout=240)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)
