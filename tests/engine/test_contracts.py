"""What the contracts allow, in whole runs: resumed as if never stopped, and the same on two processes as on one."""

import json
from dataclasses import replace

import pytest
import torch
from contracts import KINDS, SLOW_DECODER, Contract, LabelledImages, TwoImages
from processes import run_one, run_ranks
from safetensors.torch import load_file
from small import metrics, same_weights

from maskkit.engine.loop import Stopped, pretrain
from maskkit.modalities import image
from maskkit.optim import AdamW


def run_of(settings, kind, out, **changes):
    kinds = {"labels": LabelledImages, "two kinds of token": TwoImages}
    data = kinds[kind](root=settings.data.root) if kind in kinds else settings.data
    optim = SLOW_DECODER if kind == "a group" else AdamW(lr=1e-3)
    kind = "two terms" if kind == "a group" else kind
    return replace(settings, model=Contract(kind), data=data, optim=optim, out=out, **changes)


def rows(run):
    return [json.loads(line) for line in (run.out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", [*KINDS, "a group"])
def test_a_resumed_run_is_one_that_never_stopped(settings, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(
        "maskkit.engine.loop.interruptible", __import__("maskkit.engine.loop").engine.loop.interruptible
    )
    whole = run_of(settings, kind, tmp_path / "whole", ema=0.9, micro_batch=16)
    pretrain(whole, image)
    stopped = replace(whole, out=tmp_path / "stopped")
    with pytest.raises(Stopped):
        run_one(stopped, stop_at=3)
    monkeypatch.undo()
    pretrain(replace(stopped, resume=True), image)
    assert metrics(stopped.out) == metrics(whole.out)
    assert [{k: v for k, v in row.items() if "/" in k} for row in rows(stopped)] == [
        {k: v for k, v in row.items() if "/" in k} for row in rows(whole)
    ]
    assert same_weights(stopped.out, whole.out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "a group"])
def test_two_processes_are_one_with_twice_the_accumulation(settings, tmp_path, kind):
    alone = run_of(settings, kind, tmp_path / "alone", micro_batch=8, save_every=100, ema=0.9, steps=4)
    pretrain(alone, image)
    spread = replace(alone, out=tmp_path / "spread")
    assert run_ranks(2, spread) == [0, 0]
    for mine, theirs in zip(rows(alone), rows(spread), strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            if "loss" in name or name in ("accuracy", "hardest", "grad_norm"):
                assert theirs[name] == pytest.approx(mine[name], rel=1e-3, abs=1e-6), name
    for name in ("model.safetensors", "ema.safetensors"):
        mine, theirs = load_file(alone.out / name), load_file(spread.out / name)
        assert mine.keys() == theirs.keys()
        for key in mine:
            # The gradient of a key's bias is zero but for rounding, and Adam makes whole steps of what is left.
            tolerance = 5e-3 if "bias" in key else 5e-4
            torch.testing.assert_close(mine[key], theirs[key], rtol=0, atol=tolerance)


def test_terms_and_metrics_are_logged_by_name(settings, tmp_path):
    run = run_of(settings, "two terms", tmp_path / "run")
    pretrain(run, image)
    for row in rows(run):
        assert {"loss/predict", "loss/visible", "loss/difficulty", "hardest"} <= row.keys()
        total = row["loss/predict"] + 0.5 * row["loss/visible"] + 0.1 * row["loss/difficulty"]
        assert row["loss"] == pytest.approx(total, rel=1e-5)
    labelled = run_of(settings, "labels", tmp_path / "labelled")
    pretrain(labelled, image)
    assert all(0 <= row["accuracy"] <= 1 for row in rows(labelled))


def test_one_term_is_the_loss_and_is_not_logged_twice(settings, tmp_path):
    run = run_of(settings, "levels", tmp_path / "run")
    pretrain(run, image)
    assert not [name for name in rows(run)[0] if "/" in name]


def test_a_frozen_group_stays_and_is_not_averaged(settings, tmp_path):
    run = run_of(settings, "a group", tmp_path / "run", ema=0.9, warmup_epochs=1)
    torch.manual_seed(run.seed)
    start = run.model.build().state_dict()
    pretrain(run, image)
    ended, average = (load_file(run.out / f"{name}.safetensors") for name in ("model", "ema"))
    assert torch.equal(ended["encoder.embed.weight"], start["encoder.embed.weight"])
    assert torch.equal(average["encoder.embed.weight"], start["encoder.embed.weight"])
    moved = {name: (ended[name] - start[name]).abs().max().item() for name in ended}
    assert 0 < moved["decoder.head.weight"] < 0.2 * moved["encoder.blocks.0.mlp.fc1.weight"]


def test_a_teacher_is_no_part_of_the_average(settings, tmp_path):
    run = run_of(settings, "two masks, one teacher", tmp_path / "run", ema=0.5)
    pretrain(run, image)
    ended, average = (load_file(run.out / f"{name}.safetensors") for name in ("model", "ema"))
    name = "encoder.blocks.0.mlp.fc1.weight"
    assert torch.equal(ended[f"target.{name}"], average[f"target.{name}"])
    assert not torch.equal(ended[name], average[name]) and not torch.equal(ended[name], ended[f"target.{name}"])
