"""Settings of a run: what is completed, what differs between two runs, and what may change when a run goes on."""

import dataclasses
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from small import Small

from maskkit.cli import main
from maskkit.engine.settings import MAY_CHANGE, Pretrain, changes, fitted, resumed
from maskkit.modalities import image
from maskkit.modality import Fit
from maskkit.optim import MAE, AdamW, Group

MINIMAL = Pretrain(model=Small(), data=image.Data(root="x"))
STAYS_NONE = {"micro_batch", "steps", "clip", "ema", "keep_every"}  # each of these means "without"


def none_fields(settings):
    return {each.name for each in dataclasses.fields(settings) if getattr(settings, each.name) is None}


def test_what_is_none_is_completed_but_for_what_means_without():
    done = MINIMAL.completed(1000)
    assert none_fields(done) == STAYS_NONE
    assert done.precision in ("bf16", "fp32")
    assert done.optim.lr == 1.5e-4 and (done.batch, done.epochs, done.warmup_epochs, done.min_lr) == (256, 100, 5, 0)
    assert done.completed(1000) == done
    full = done.optim.over(MAE)
    assert not [each.name for each in dataclasses.fields(AdamW) if getattr(full, each.name) is None] or (
        full.weight_decay_end is None
    )


@dataclasses.dataclass(frozen=True)
class Own(Small):
    """A method with an optimiser and a last rate of its own."""

    min_lr = 1e-6

    def optim(self, batch):
        return AdamW(lr=batch * 1e-5, betas=(0.8, 0.9), groups=(Group(names=("*",), lr=0.5),))


def test_the_methods_optimiser_is_under_what_is_asked_for():
    done = replace(MINIMAL, model=Own(), batch=10, optim=AdamW(weight_decay=0.3)).completed(1000)
    assert done.optim.lr == pytest.approx(1e-4) and done.optim.betas == (0.8, 0.9) and done.min_lr == 1e-6
    assert done.optim.weight_decay == 0.3 and done.optim.groups[0].lr == 0.5
    asked = replace(MINIMAL, model=Own(), optim=AdamW(lr=7.0), min_lr=1e-9).completed(10)
    assert asked.optim.lr == 7 and asked.min_lr == 1e-9


@pytest.mark.parametrize(
    ("settings", "samples", "wanted"),
    [
        ({"epochs": 10, "batch": 32}, 320, (100, 5)),
        ({"epochs": 10, "batch": 32, "warmup_epochs": 2}, 320, (100, 20)),
        ({"steps": 40, "batch": 32}, 320, (40, 2)),
        ({"steps": 40, "epochs": 10, "warmup_epochs": 5}, 320, (40, 20)),
        ({"epochs": 0.001, "batch": 32}, 320, (1, 0)),
        ({}, 2560, (1000, 50)),
    ],
)
def test_length_of_a_run_and_of_its_warmup(settings, samples, wanted):
    run = replace(MINIMAL, **settings)
    assert run.length(samples) == wanted == run.completed(samples).length(samples)


@pytest.mark.parametrize(
    ("settings", "processes", "before", "wanted"),
    [
        ({"batch": 32}, 1, 0, 32),
        ({"batch": 32}, 4, 0, 8),
        ({"batch": 32, "micro_batch": 4}, 4, 8, 4),
        ({"batch": 32}, 2, 4, 4),
        ({"batch": 32, "micro_batch": 64}, 1, 0, 32),
        ({"batch": 32}, 3, 0, None),
        ({"batch": 2}, 4, 0, None),
        ({"batch": 32, "micro_batch": 5}, 1, 0, None),
    ],
)
def test_micro_batches_share_a_batch_evenly(settings, processes, before, wanted):
    run = replace(MINIMAL, **settings)
    if wanted is None:
        with pytest.raises(ValueError, match=f"cannot be shared by {processes} processes; choose a --micro-batch"):
            run.micro(processes, before)
    else:
        assert run.micro(processes, before) == wanted


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch": 0}, "--batch must be at least 1, got 0"),
        ({"workers": -1}, "--workers must be at least 0, got -1"),
        ({"max_not_finite": 0}, "--max-not-finite must be at least 1"),
        ({"epochs": 0.0}, "--epochs must be positive, got 0.0"),
        ({"seed": -5}, "--seed must be at least 0, got -5"),
        ({"save_every": 0}, "--save-every must be at least 1"),
    ],
)
def test_numbers_that_are_too_small_are_refused_by_their_flags(settings, message):
    with pytest.raises(ValueError, match=message):
        replace(MINIMAL, **settings)
    replace(MINIMAL, workers=0, max_rewinds=0)


def test_changes_are_named_with_dots():
    other = replace(
        MINIMAL,
        steps=7,
        model=replace(MINIMAL.model, patch_size=4),
        optim=AdamW(lr=1.0),
        data=replace(MINIMAL.data, root="y"),
    )
    assert changes(MINIMAL, other) == {
        "steps": (None, 7),
        "model.patch_size": (2, 4),
        "optim.lr": (None, 1.0),
        "data.root": ("x", "y"),
    }
    assert changes(MINIMAL, MINIMAL) == {}
    assert changes(MINIMAL, replace(MINIMAL, model=Own())) == {"model": (Small(), Own())}


def go_on(run, **asked):
    said = []
    return resumed(run, replace(run, **asked), said.append), said


STAYS = {"batch", "micro_batch", "epochs", "warmup_epochs", "min_lr", "clip", "ema", "precision", "seed"}
PARTS = {"model", "data", "optim", "out", "resume"}


def test_each_setting_may_change_or_stays():
    """What a run computes stays; how fast, how safely and how often it is looked at may change."""
    everything = {each.name for each in dataclasses.fields(Pretrain)}
    assert everything == STAYS | PARTS | set(MAY_CHANGE) and len(MAY_CHANGE) == 15
    assert {"steps", "workers", "device", "save_every", "keep", "max_bad"} <= set(MAY_CHANGE)


VALUES = {"device": "cpu", "sharding": "none", "max_bad": 0.5, "compile": True, "recompute": True}
VALUES |= {"save_in_background": True}


@pytest.mark.parametrize("name", MAY_CHANGE)
def test_what_may_change_is_taken_over_in_silence(name):
    value = VALUES.get(name, 17)
    found, said = go_on(MINIMAL, **{name: value})
    assert getattr(found, name) == value and not said and found.resume
    assert changes(MINIMAL, replace(found, resume=False)) == {name: (getattr(MINIMAL, name), value)}


def test_what_may_not_change_stays_and_is_said_by_its_flag():
    run = replace(MINIMAL, seed=3, model=Small(image_size=16))
    found, said = go_on(run, seed=4, model=Small(image_size=8), optim=AdamW(lr=2.0), batch=9, keep=5)
    assert replace(found, resume=False) == replace(run, keep=5)
    (line,) = said
    wanted = ("--seed (the run has 3)", "--image-size (the run has 16)", "--lr (the run has None)", "--batch (the")
    assert line.startswith("a run keeps its settings; not used: ") and all(each in line for each in wanted)
    assert "--keep" not in line


def test_moved_data_are_read_where_they_are_and_said():
    found, said = go_on(MINIMAL, data=replace(MINIMAL.data, root="z", flip=True), out=Path("elsewhere"))
    assert found.data.root == "z" and found.data.flip is None and found.out == Path("elsewhere")
    assert "--flip" in said[0] and said[1].startswith("data: z, where the run had x; it resumes exactly only")


@pytest.mark.parametrize(
    ("asked", "batch", "steps"),
    [({}, 64, 20000), ({"batch": 7}, 7, 20000), ({"steps": 3}, 64, 3), ({"epochs": 2.0}, 64, None)],
)
def test_what_fits_the_data_is_chosen_and_said(asked, batch, steps):
    said = []
    fit = Fit(model=Small(), data=image.Data(root="fitted"), samples=100_000, batch=64, summary="small")
    found = fitted(replace(MINIMAL, **asked), fit, said.append)
    assert (found.batch, found.steps, found.data.root) == (batch, steps, "fitted")
    assert len(said) == 1 and said[0].startswith(f"chosen: small, batch {batch}, ")
    few = fitted(MINIMAL, replace(fit, samples=10), said.append)
    assert few.batch == 10 and few.steps == 500


@pytest.fixture(scope="module")
def run(digits, tmp_path_factory):
    """A run with settings that are not the defaults."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ["pretrain", "image", "--method", "simmim", "--size", "tiny", "--data", digits, "--out", out, "--steps", 1]
    words += ["--batch", 4, "--workers", 0, "--log-every", 1, "--precision", "fp32", "--seed", 5, "--keep", 3]
    assert main([str(word) for word in words]) == 0
    return out


def resume(run, digits, *words):
    command = [sys.executable, "-c", SPY, "pretrain", "image", "--data", digits, "--out", run, "--resume", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


# The command itself, but for the training: what the loop would be given.
SPY = """
import json, sys
from maskkit.cli import main
from maskkit.engine import loop
from maskkit.engine.run import plain
def pretrain(settings, modality):
    print(json.dumps({**plain(settings), "method": settings.model.name}))
    return settings.out
loop.pretrain = pretrain  # which the command imports when it trains
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_flag_counts_on_resume_also_where_it_asks_for_the_default(run, digits):
    settings, said = resume(run, digits, "--workers", 2, "--keep", 2, "--seed", 0, "--precision", "auto", "--steps", 3)
    assert (settings["workers"], settings["keep"], settings["steps"]) == (2, 2, 3)  # 2 is the default of both
    assert (settings["seed"], settings["precision"], settings["batch"]) == (5, "fp32", 4)
    assert "not used: --precision (the run has fp32), --seed (the run has 5)" in said
    assert "--workers" not in said and "--keep" not in said


@pytest.mark.slow
def test_without_flags_a_run_goes_on_as_it_was(run, digits):
    settings, said = resume(run, digits, "--method", "mae")
    record = json.loads((run / "config.json").read_text())["settings"]
    differing = {name for name in record if record[name] != settings[name]}
    assert differing == {"resume"} and settings["method"] == "simmim"
    assert "a run keeps its method; not used: --method mae (the run has simmim)" in said
