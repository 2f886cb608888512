"""Several processes train as one does: the same samples, masks and losses; and they may become more or fewer."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import children, run_ranks
from safetensors.torch import load_file
from small import metrics

from maskkit.decoder import JointDecoder
from maskkit.encoder import SparseEncoder
from maskkit.engine.checkpoints import all_checkpoints
from maskkit.engine.distributed import World
from maskkit.engine.loop import pretrain
from maskkit.engine.restore import restore_settings
from maskkit.engine.run import Pretrain, RunFolder
from maskkit.modalities import image, points, video
from maskkit.positions import FlatSinCos

ROOT = Path(__file__).parents[2]


def assert_same_run(one, other):
    for mine, theirs in zip(metrics(one), metrics(other), strict=True):
        assert mine["step"] == theirs["step"] and mine["lr"] == theirs["lr"]
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    for name in ("model.safetensors", "ema.safetensors"):
        mine, theirs = load_file(one / name), load_file(other / name)
        for key in mine:
            # The gradient of a key's bias is zero but for rounding, and Adam makes whole steps of what is left.
            torch.testing.assert_close(mine[key], theirs[key], rtol=0, atol=5e-3 if "qkv.bias" in key else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["full", "none"])
def test_two_processes_are_one_with_twice_the_accumulation(settings, tmp_path, sharding):
    settings = replace(settings, micro_batch=8, ema=0.9, clip=0.5, save_every=100)
    pretrain(settings, image)
    spread = replace(settings, out=tmp_path / "spread", sharding=sharding, recompute=True, save_every=2)
    spread = replace(spread, save_in_background=True)
    assert run_ranks(2, spread) == [0, 0]
    assert_same_run(settings.out, spread.out)


@dataclass(frozen=True)
class SmallVideo:
    def build(self):
        places = FlatSinCos(dim=32)
        encoder = SparseEncoder(content=16, dim=32, depth=2, heads=2, positions=places, prefix_tokens=0)
        decoder = JointDecoder(latent=32, dim=32, depth=1, heads=2, output=16, positions=places, keep_prefix=False)
        size = {"frames": 4, "image_size": 16, "patch_size": 4, "tubelet": 1, "channels": 1}
        return video.videomae(**size, mask_ratio=0.5, norm_target=False, encoder=encoder, decoder=decoder)


@dataclass(frozen=True)
class SmallPoints:
    def build(self):
        size = {"num_points": 64, "num_groups": 8, "group_size": 8, "dim": 32, "depth": 2, "heads": 2}
        return points.point_mae(**size, decoder_depth=1, drop_path=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["video", "points"])
def test_two_processes_train_every_kind_of_model(settings, tmp_path, modality):
    """Encoders without prefix tokens, and one whose running statistics every process has to agree on."""
    if modality == "video":
        np.savez(tmp_path / "data.npz", videos=video.moving_digits(64, frames=4, size=16, seed=0)[0])
        parts = SmallVideo(), video.Data(root=str(tmp_path / "data.npz"), stride=1, crop="centre")
    else:
        rng = torch.Generator().manual_seed(0)
        np.savez(tmp_path / "data.npz", points=torch.stack([points.shape(n % 4, 64, rng) for n in range(64)]).numpy())
        parts = SmallPoints(), points.Data(root=str(tmp_path / "data.npz"))
    settings = replace(settings, model=parts[0], data=parts[1], batch=16, micro_batch=8)
    pretrain(settings, {"video": video, "points": points}[modality])
    spread = replace(settings, out=tmp_path / "spread")
    assert run_ranks(2, replace(spread, save_every=2), stop_at=2, modality=modality) == [3, 3]
    assert run_ranks(2, replace(spread, resume=True), modality=modality) == [0, 0]
    for one, other in zip(metrics(settings.out), metrics(spread.out), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)


@pytest.mark.slow
def test_four_processes_then_two_then_one(settings, tmp_path):
    """Interrupted in steps 2 and 4, and resumed by fewer; the first four fix the micro-batch by their number."""
    settings = replace(settings, ema=0.9)
    parts = replace(settings, out=tmp_path / "parts")
    assert run_ranks(4, parts, stop_at=2) == [3] * 4
    assert run_ranks(2, replace(parts, resume=True), stop_at=2) == [3] * 2
    assert [path.name for path in all_checkpoints(parts.out / "checkpoints")][-1] == "step-00000004"
    assert run_ranks(1, replace(parts, resume=True)) == [0]
    pretrain(replace(settings, micro_batch=8), image)
    assert_same_run(settings.out, parts.out)


def test_processes_that_cannot_share_a_batch_are_told(settings):
    with pytest.raises(ValueError, match="batch 32 in micro-batches of 8 cannot be shared by 3 processes; choose"):
        replace(settings, micro_batch=8).micro(3)
    assert settings.micro(4) == 8 and settings.micro(2, before=8) == 8
    assert replace(settings, micro_batch=64).micro(1) == 32


def test_alone_every_exchange_gives_back_what_it_was_given():
    world = World(torch.device("cpu"))
    assert world.total([1.5, 2]) == [1.5, 2] and world.gather("x") == ["x"] and world.is_main


@pytest.mark.slow
def test_torchrun_brings_a_run_back_after_a_process_dies(digits, tmp_path):
    """A real torchrun, a recipe, and a real SIGKILL to one of its processes."""
    out = tmp_path / "run"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "2"]
    words = [*torchrun, "--master-port", "0", "--standalone", str(ROOT / "recipes" / "mae_imagenet.py")]
    words += ["--data.root", str(digits), "--data.min-scale", "1", "--data.flip", "False", "--model.size", "tiny"]
    words += ["--model.image-size", "8", "8", "--model.patch-size", "2", "--model.channels", "1", "--out", str(out)]
    words += ["--batch", "8", "--micro-batch", "4", "--steps", "30", "--log-every", "1", "--save-every", "5"]
    words += ["--workers", "0", "--precision", "fp32", "--picture-every", "1000"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 120
        while not all_checkpoints(out / "checkpoints"):
            assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
            time.sleep(0.05)
        os.kill(children(process.pid)[-1], signal.SIGKILL)
        errors = process.communicate(timeout=200)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, errors
    assert "SIGKILL" in errors or "exitcode: -9" in errors
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 31))
    settings = restore_settings(RunFolder(out), image.MODALITY)
    assert isinstance(settings, Pretrain)
    pretrain(replace(settings, out=tmp_path / "unbroken", resume=False), image)
    for one, other in zip(lines, metrics(tmp_path / "unbroken"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
