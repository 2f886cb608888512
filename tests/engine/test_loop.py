"""Training on real digits: it learns, it can stop and go on, it says what it did."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from processes import run_one, start
from safetensors.torch import load_file
from small import Small, metrics, same_weights

from maskkit import weights
from maskkit.data.find import find_files
from maskkit.data.shards.pack import pack
from maskkit.data.source import BadSampleError, epoch_order
from maskkit.engine.checkpoints import all_checkpoints, read_model
from maskkit.engine.loop import pretrain, train
from maskkit.engine.optim import AdamW
from maskkit.modalities import image


def test_it_learns(settings):
    """On held-out digits the loss falls well below that of predicting the mean of all digits at each place."""
    pixels = torch.from_numpy(image.digits()[0])
    settings = replace(
        settings,
        model=Small(mean=0.3, std=0.38, drop_path=0),
        steps=900,
        batch=128,
        log_every=100,
        save_every=900,
        optim=AdamW(lr=3e-3),
    )
    model = weights.open_model(pretrain(settings, image) / "model.safetensors").eval()
    with torch.no_grad():
        out = model(pixels[1400:], rng=torch.Generator().manual_seed(0))
    contents = model.tokenizer(pixels[:1400]).x.mean(dim=0)[out.mask.hidden]
    of_mean = (contents - out.value).square().mean()
    assert out.loss < 0.75 * of_mean


def test_a_picture_that_cannot_be_drawn_ends_no_run(settings, capsys):
    def refuse(*arguments):
        raise ValueError("nothing to draw")

    source = settings.data.open(settings.model.build().tokenizer, train=True)
    settings = replace(settings, picture_every=1, save_every=2)
    train(settings.model.build(), source, settings, modality="image", draw=refuse, pictures_from=source)
    assert capsys.readouterr().err.count("no figure: nothing to draw") == settings.steps
    assert (settings.out / "model.safetensors").exists()


def test_the_limit_of_broken_samples_counts_files_not_their_repeats(settings):
    source = settings.data.open(settings.model.build().tokenizer, train=True)

    class Repeated:
        repeats = 4

        def __getattr__(self, name):
            return getattr(source, name)

        def __len__(self):
            return 4 * len(source)

        def read(self, key, rng):
            assert key.repeat in range(4)
            if key.index % 10 == 0:
                raise BadSampleError(self.path(key.index), "broken on purpose")
            return source.read(key, rng)

        def path(self, index):
            return source.path(index)

    with pytest.raises(ValueError, match=f"of {len(source)} samples cannot be read, more than the limit of 5%"):
        train(settings.model.build(), Repeated(), replace(settings, steps=300), modality="image")


def test_what_a_run_folder_holds(settings):
    pretrain(replace(settings, picture_every=2, ema=0.9), image)
    run = settings.out
    record = json.loads((run / "config.json").read_text())
    assert record["modality"] == "image" and record["settings"]["batch"] == 32 and record["versions"]["torch"]
    assert [p.name for p in all_checkpoints(run / "checkpoints")] == ["step-00000003", "step-00000006"]
    assert [p.name for p in sorted((run / "pictures").iterdir())] == [f"step-{n:08d}.png" for n in (2, 4, 6)]
    assert list((run / "tensorboard").glob("events*"))
    keys = {
        "step",
        "epoch",
        "samples",
        "loss",
        "lr",
        "grad_norm",
        "samples_per_second",
        "data_wait",
        "memory",
        "skipped",
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 6 and all(keys <= line.keys() for line in lines)
    assert lines[0]["lr"] == 0 and 0 <= lines[-1]["data_wait"] <= 1
    model = weights.open_model(run / "model.safetensors")
    average = weights.open_model(run / "ema.safetensors")
    assert not torch.equal(model.encoder.embed.weight, average.encoder.embed.weight)


@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_is_one_that_never_stopped(settings, tmp_path, workers, ema):
    settings = replace(settings, ema=ema)
    pretrain(settings, image)
    parts = replace(settings, out=tmp_path / "parts", workers=workers)
    pretrain_until(parts, 3)
    torch.manual_seed(123)  # whatever else happened in the meantime
    pretrain(replace(parts, resume=True), image)
    assert metrics(parts.out) == metrics(settings.out)
    assert same_weights(parts.out, settings.out)


def pretrain_until(settings, step):
    """Run in full, then take back what came after a checkpoint, as a crash would have."""
    pretrain(settings, image)
    for place in all_checkpoints(settings.out / "checkpoints"):
        if int(place.name[5:]) > step:
            for file in place.iterdir():
                file.unlink()
            place.rmdir()
    (settings.out / "model.safetensors").unlink()


def test_accumulation_is_a_larger_batch(settings, tmp_path):
    pretrain(settings, image)
    pretrain(replace(settings, micro_batch=8, out=tmp_path / "parts"), image)
    for one, other in zip(metrics(settings.out), metrics(tmp_path / "parts"), strict=True):
        # Masks are drawn batch by batch, so they differ from the second part on: the losses agree, not the digits.
        assert one["lr"] == other["lr"] and abs(one["loss"] - other["loss"]) < 0.2 * one["loss"]


def test_bf16_trains_the_same(settings, tmp_path):
    pretrain(replace(settings, precision="bf16"), image)
    pretrain(replace(settings, out=tmp_path / "fp32"), image)
    for one, other in zip(metrics(settings.out), metrics(tmp_path / "fp32"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.03)


@pytest.mark.slow
def test_compiled_blocks_train_the_same(settings, tmp_path):
    pretrain(replace(settings, compile=True, steps=3), image)
    pretrain(replace(settings, out=tmp_path / "eager", steps=3), image)
    for one, other in zip(metrics(settings.out), metrics(tmp_path / "eager"), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-3)


def test_a_folder_that_holds_a_run_is_refused(settings):
    pretrain(settings, image)
    with pytest.raises(ValueError, match="already holds a run; choose another --out, or continue it with --resume"):
        pretrain(settings, image)
    with pytest.raises(ValueError, match="holds a run of another model"):
        pretrain(replace(settings, model=replace(settings.model, mask_ratio=0.5), resume=True), image)
    with pytest.raises(ValueError, match="holds a run with batch 32, not 16"):
        pretrain(replace(settings, batch=16, resume=True), image)


def test_a_loss_that_is_no_number_stops_with_advice(settings):
    with pytest.raises(FloatingPointError, match=r"10 times in a row, after going back 2 times; .*lower --lr "):
        pretrain(replace(settings, optim=AdamW(lr=1e30), steps=40, save_every=1, max_rewinds=2), image)
    places = all_checkpoints(settings.out / "checkpoints")
    assert all(t.isfinite().all() for t in read_model(places[-1]).values())


class Poisoned:
    """Digits, some of which become infinite after a while: a fault that only some orders of the data meet."""

    def __init__(self, source, bad):
        self.source, self.bad = source, bad

    def __len__(self):
        return len(self.source)

    repeats = 1

    def read(self, key, rng):
        sample = self.source.read(key, rng).float()
        return sample * torch.inf if key.index in self.bad else sample

    def path(self, index):
        return f"digit {index}"

    def label(self, index):
        return None


def test_a_step_that_is_not_finite_is_left_out_and_its_samples_are_named(settings, digits):
    model = settings.model.build()
    source = settings.data.open(model.tokenizer, train=True)
    bad = set(epoch_order(source, settings.seed, 0)[40:44, 1].tolist())  # in the second step of batch 32
    train(model, Poisoned(source, bad), settings, modality="image")
    lines = [json.loads(line) for line in (settings.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["not_finite"] for line in lines] == [0, 1, 1, 1, 1, 1] and lines[1]["loss"] is None
    (record,) = [json.loads(line) for line in (settings.out / "not_finite.jsonl").read_text().splitlines()]
    assert record["step"] == 1 and len(record["paths"]) == 32 and {f"digit {n}" for n in bad} <= set(record["paths"])
    assert all(t.isfinite().all() for t in load_file(settings.out / "model.safetensors").values())


def test_several_in_a_row_go_back_and_take_another_order(settings, digits):
    model = settings.model.build()
    source = settings.data.open(model.tokenizer, train=True)
    order = epoch_order(source, settings.seed, 0)[:, 1].tolist()
    bad = set(order[128 : 9 * 32 : 32])  # one sample of each of the steps 4 to 8
    settings = replace(settings, steps=10, max_not_finite=3, data=replace(settings.data))
    train(model, Poisoned(source, bad), settings, modality="image")
    lines = [json.loads(line) for line in (settings.out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert [line["rewinds"] for line in lines] == [0] * 3 + [1] * 7  # step 3 was the last one saved
    # The last step: were all bad samples met in one more row, max_rewinds would have ended the run.
    assert lines[-1]["loss"] is not None


@pytest.mark.slow
def test_a_thousand_mixed_pictures_ten_of_them_broken(settings, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    kinds = [("jpg", "RGB"), ("png", "L"), ("webp", "RGB"), ("png", "RGBA"), ("tif", "RGB"), ("png", "P")]
    for number in range(990):
        suffix, mode = kinds[number % len(kinds)]
        size = rng.integers(12, 40, 2)
        picture = Image.fromarray(rng.integers(0, 255, (*size, 3), dtype=np.uint8))
        picture.convert(mode).save(folder / f"{number}.{suffix}")
    whole = (folder / "0.jpg").read_bytes()
    broken = [b"", whole[:200], b"not an image", whole[: len(whole) // 2], b"\x89PNG\r\n\x1a\n"] * 2
    for number, content in enumerate(broken):
        (folder / f"broken {number}.{'png' if number % 5 == 4 else 'jpg'}").write_bytes(content)
    settings = replace(
        settings,
        model=Small(image_size=16, patch_size=4, channels=3),
        data=image.Data(root=str(folder)),
        batch=100,
        steps=10,
        workers=2,
    )
    pretrain(settings, image)
    named = [line.split("\t") for line in (settings.out / "skipped.txt").read_text().splitlines()]
    assert len(named) == len({path for path, _ in named}) == 10
    assert all("broken" in path and reason for path, reason in named)
    assert metrics(settings.out)[-1]["skipped"] == 10
    with pytest.raises(ValueError, match=r"samples cannot be read, more than the limit of 0%.*fix the data or raise"):
        pretrain(replace(settings, out=tmp_path / "strict", max_bad=0.004), image)


def test_a_run_on_shards_of_which_some_are_broken(settings, tmp_path):
    """One shard is cut off, one is missing: what is whole trains, the rest is named; beyond the limit it stops."""
    folder, rng = tmp_path / "pictures", np.random.default_rng(0)
    folder.mkdir()
    for number in range(300):
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    files = find_files(folder, image.SUFFIXES)
    pack(files, image.SUFFIXES, tmp_path / "shards", size=20_000, seed=0, say=print)
    shards = sorted((tmp_path / "shards").glob("*.tar"))
    assert len(shards) > 5
    os.truncate(shards[1], shards[1].stat().st_size // 2)
    shards[2].unlink()
    where = str(tmp_path / "shards" / f"shard-{{000000..{len(shards) - 1:06d}}}.tar")
    settings = replace(
        settings,
        model=Small(image_size=8, patch_size=4, channels=3),
        data=image.Data(root=where),
        steps=12,
        workers=2,
        max_bad=0.5,
    )
    pretrain(settings, image)
    named = (settings.out / "skipped.txt").read_text()
    assert shards[1].name in named and shards[2].name in named and shards[3].name not in named
    assert metrics(settings.out)[-1]["skipped"] == len(named.splitlines()) > 20
    parts = replace(settings, out=tmp_path / "parts", workers=0)
    pretrain_until(parts, 6)
    pretrain(replace(parts, resume=True), image)
    assert metrics(parts.out) == metrics(settings.out) and same_weights(parts.out, settings.out)
    with pytest.raises(ValueError, match="cannot be read, more than the limit of 5%.*fix the data or raise --max-bad"):
        pretrain(replace(settings, out=tmp_path / "strict", max_bad=0.05), image)


def test_a_full_disk_keeps_the_checkpoint_before(settings, tmp_path):
    """A real full disk: a tmpfs that holds the first checkpoint and not the second."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        settings = replace(settings, out=disk / "run", keep=5, save_every=1, steps=8)
        with pytest.raises(OSError, match="No space left|could not write"):
            pretrain(settings, image)
        places = all_checkpoints(disk / "run" / "checkpoints")
        assert places
        assert not list((disk / "run" / "checkpoints").glob(".*"))  # what was half written is gone
        fresh = settings.model.build()
        fresh.load_state_dict(read_model(places[-1]))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_checkpoint_that_cannot_be_written_says_what_is_wrong(settings, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("")
    with pytest.raises(OSError, match="could not write .*: not a directory; check the folder, then --resume"):
        pretrain(replace(settings, out=tmp_path / "run", steps=1), image)


def test_a_device_that_is_not_here_leaves_no_folder(settings, tmp_path):
    """Recipes and runs that began on another machine come this way too, not only the commands."""
    with pytest.raises(ValueError, match="--device abacus cannot be used here .*; choose cpu"):
        pretrain(replace(settings, device="abacus", out=tmp_path / "nowhere"), image)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("number", "to_all"),
    [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGHUP, True)],
    ids=["to_the_process", "to_its_group", "closed_terminal"],
)
def test_a_signal_saves_and_exits_with_3(settings, digits, tmp_path, number, to_all):
    """Ctrl-C and ``timeout`` signal all processes of a group; loader processes would die in the middle of a step."""
    out = tmp_path / "signalled"
    words = [
        "pretrain",
        "image",
        "--data",
        digits,
        "--out",
        out,
        "--steps",
        "100000",
        "--log-every",
        "1",
        "--batch",
        "8",
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "maskkit.cli", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and not (out / "metrics.jsonl").exists():
        time.sleep(0.1)
    while time.monotonic() < deadline and (out / "metrics.jsonl").stat().st_size == 0:
        time.sleep(0.1)
    if to_all:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, said = process.communicate(timeout=150)
    assert process.returncode == 3
    assert "saved; continue with --resume" in said
    assert len(all_checkpoints(out / "checkpoints")) == 1


def test_a_folder_that_a_run_uses_is_refused_to_another(settings, tmp_path):
    first = start(run_one, replace(settings, steps=10_000, out=tmp_path / "run"))
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not (tmp_path / "run" / "metrics.jsonl").read_text():
        assert time.monotonic() < deadline and first.exitcode is None
        time.sleep(0.05)
    rows = (tmp_path / "run" / "metrics.jsonl").read_text()
    for resume in (False, True):
        with pytest.raises(ValueError, match="is in use by another run; wait until it ends, or choose another --out"):
            pretrain(replace(settings, out=tmp_path / "run", resume=resume), image)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().startswith(rows)
    os.kill(first.pid, signal.SIGKILL)
    first.join(60)
    pretrain(replace(settings, out=tmp_path / "run", resume=True), image)  # the lock ended with its owner
    assert not (tmp_path / "run" / ".lock").exists()


@pytest.mark.parametrize("damage", ["deleted", "cut", "cut inside a row"])
def test_metrics_that_somebody_shortened_stay_lines(settings, tmp_path, damage, capsys):
    run = replace(settings, out=tmp_path / "run", save_every=2)
    process = start(run_one, run, 4)
    process.join(60)
    assert process.exitcode == 3
    file = run.out / "metrics.jsonl"
    rows = file.read_text().splitlines(keepends=True)
    file.write_text({"deleted": "", "cut": rows[0], "cut inside a row": rows[0] + rows[1][:9]}[damage])
    pretrain(replace(run, resume=True), image)
    steps = [json.loads(line)["step"] for line in file.read_text().splitlines()]
    assert steps == [*([] if damage == "deleted" else [1]), 5, 6]
    assert "earlier rows are missing" in capsys.readouterr().err
