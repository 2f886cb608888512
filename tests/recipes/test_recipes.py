"""Every recipe has the published settings and runs."""

import importlib.util
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskkit.cli import run_recipe

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
    words = ["--data.root", pictures, "--out", tmp_path / "run", "--steps", 2, "--batch", 4, "--micro-batch", 2]
    words += ["--model.size", "tiny", "--workers", 0, "--precision", "fp32", "--log-every", 1]
    command = [sys.executable, RECIPES / "mae_imagenet.py", *words]
    subprocess.run([str(word) for word in command], check=True, timeout=240)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.py")))
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch", "x"], "--batch x: the value must be INT"),
        (["--optim.lr", "nan"], "--lr must be positive, got nan"),
        (["--nope", "1"], "Unrecognized options: --nope"),
        (["--out"], "Missing value for argument '--out'"),
    ],
)
def test_wrong_words_of_a_recipe_are_one_line(recipe, words, message, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{recipe}.py", *words])
    with pytest.raises(SystemExit) as stop:
        run_recipe(module(recipe).main)
    said = capsys.readouterr().err.strip()
    assert stop.value.code == 2 and said.startswith(f"maskkit: {message}") and "\n" not in said


def test_an_interrupted_recipe_is_one_line(capsys):
    with pytest.raises(SystemExit) as stop:
        run_recipe(lambda: signal.raise_signal(signal.SIGINT))
    assert stop.value.code == 130 and capsys.readouterr().err == "maskkit: interrupted\n"


def test_a_recipe_with_bad_data_says_so_in_one_line(tmp_path):
    command = [sys.executable, RECIPES / "mae_imagenet.py", "--data.root", tmp_path / "none", "--out", tmp_path / "run"]
    command += ["--model.size", "tiny"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stderr.strip().count("\n") == 0 and "none" in result.stderr


def test_audiomae_audioset_is_the_authors():
    """submit_pretrain_audioset2M.sh and main_pretrain.py of facebookresearch/AudioMAE."""
    settings = module("audiomae_audioset").vit_base()
    assert settings.optim.lr == pytest.approx(2e-4 * 512 / 256)
    assert settings.optim.betas == (0.9, 0.95) and settings.optim.weight_decay == 1e-4
    assert (settings.batch, settings.epochs, settings.warmup_epochs) == (512, 33, 3)
    assert (settings.model.frames, settings.model.mels, settings.model.mask_ratio) == (1024, 128, 0.8)
    assert settings.model.decoder == "window" and settings.model.positions == "authors" and settings.model.norm_target
    assert settings.data.gain and not settings.data.roll and settings.data.excerpt == "start"
    assert settings.data.padding == "silence"
    assert module("audiomae_audioset").vit_large().model.size == "large"


@pytest.mark.slow
def test_audiomae_audioset_runs_two_steps(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    rng = np.random.default_rng(0)
    paths = [tmp_path / f"{number}.flac" for number in range(4)]
    for path in paths:
        soundfile.write(path, rng.normal(0, 0.1, 160_000), 16_000)
    entries = [{"wav": str(path), "labels": "/m/09x0r"} for path in paths]
    (tmp_path / "train_all.json").write_text(json.dumps({"data": entries}))
    words = ["--data.root", tmp_path / "train_all.json", "--out", tmp_path / "run", "--steps", 2, "--batch", 2]
    words += ["--model.size", "tiny", "--workers", 0, "--precision", "fp32", "--log-every", 1]
    command = [sys.executable, RECIPES / "audiomae_audioset.py", *words]
    subprocess.run([str(word) for word in command], check=True, timeout=240)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)


def test_videomae_k400_is_the_authors():
    """scripts/kinetics/videomae_vit_base_*_1600/pretrain.sh and run_mae_pretraining.py of MCG-NJU/VideoMAE."""
    recipe = module("videomae_k400")
    settings = recipe.vit_base()
    assert settings.optim.lr == pytest.approx(1.2e-3) and settings.min_lr == pytest.approx(8e-5)
    assert settings.optim.betas == (0.9, 0.95) and settings.optim.weight_decay == 0.05 and settings.clip is None
    assert settings.optim.no_decay == ("prefix", "mask_token")
    assert (settings.batch, settings.epochs, settings.warmup_epochs) == (2048, 1600, 40)
    assert (settings.model.name, settings.model.mask_ratio, settings.model.norm_target) == ("videomae", 0.9, True)
    assert (settings.data.stride, settings.data.crop, settings.data.repeats) == (4, "multi-scale", 1)
    assert [recipe.SIZES[name]().batch for name in ("vit-small", "vit-large", "vit-huge")] == [1024, 512, 1024]
    assert recipe.vit_large().optim.lr == pytest.approx(3e-4)
    assert [name for name in recipe.SIZES if recipe.SIZES[name]().recompute] == ["vit-huge"]  # --use_checkpoint


def test_maest_k400_is_the_authors():
    """PRETRAIN.md of facebookresearch/mae_st."""
    settings = module("maest_k400").vit_large()
    assert settings.optim.lr == pytest.approx(1.6e-3) and settings.optim.weight_decay == 0.05
    assert (settings.batch, settings.epochs, settings.warmup_epochs, settings.clip) == (1024, 100, 5, 0.02)
    assert (settings.model.name, settings.model.pred_t_dim, settings.model.mask_ratio) == ("mae-st", 8, 0.9)
    assert (settings.data.repeats, settings.data.crop, settings.data.min_scale) == (4, "resized", 0.5)
    assert settings.precision == "fp32" and settings.data.seconds == pytest.approx(64 / 30)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="writes its videos with ffmpeg: apt install ffmpeg")
@pytest.mark.parametrize("recipe", ["videomae_k400", "maest_k400"])
def test_video_recipes_run_two_steps(recipe, tmp_path):
    for number in range(4):
        source = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate=25:duration={1 + number}"]
        command = ["ffmpeg", "-loglevel", "error", *source, "-pix_fmt", "yuv420p", str(tmp_path / f"{number}.mp4")]
        subprocess.run(command, check=True)
    (tmp_path / "train.csv").write_text("".join(f"{number}.mp4 {number % 2}\n" for number in range(4)))
    words = ["--data.list", tmp_path / "train.csv", "--out", tmp_path / "run", "--steps", 2, "--batch", 4]
    words += ["--model.size", "tiny", "--model.frames", 8, "--model.image-size", 32, 32, "--workers", 0]
    words += ["--micro-batch", 2, "--precision", "fp32", "--log-every", 1]
    words += ["--model.pred-t-dim", 4] if recipe == "maest_k400" else []
    command = [sys.executable, RECIPES / f"{recipe}.py", *words]
    subprocess.run([str(word) for word in command], check=True, timeout=240)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(np.isfinite(line["loss"]) for line in lines)


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
