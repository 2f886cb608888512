"""Schedules and parameter groups as the papers have them."""

import math

import pytest
import torch
from maskkit.modalities import image

from maskkit.engine.optim import EMA, AdamW, WarmupCosine, scaled_lr


def test_the_schedule_is_lr_sched_py():
    """adjust_learning_rate of MAE, written out with its fractional epochs."""
    epochs, warmup, per_epoch, lr, min_lr = 10, 2, 25, 2.4e-3, 1e-5
    schedule = WarmupCosine(peak=lr, steps=epochs * per_epoch, warmup=warmup * per_epoch, min_lr=min_lr)
    for step in range(epochs * per_epoch):
        epoch = step / per_epoch
        if epoch < warmup:
            expected = lr * epoch / warmup
        else:
            expected = min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / (epochs - warmup)))
        assert schedule(step) == pytest.approx(expected, abs=1e-12)
    assert schedule(epochs * per_epoch) == pytest.approx(min_lr)


def test_the_linear_rule():
    assert scaled_lr(1.5e-4, 4096) == pytest.approx(2.4e-3)


def names_of(group, model):
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)] for p in group["params"]}


def test_groups_as_in_timms_helper_that_mae_used():
    model = image.tiny()
    decayed, free = AdamW().build(model).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert {"encoder.prefix", "decoder.mask_token", "encoder.embed.weight"} <= names_of(decayed, model)
    assert all(name.endswith("bias") or ".norm" in name for name in names_of(free, model))
    assert names_of(decayed, model) | names_of(free, model) == {n for n, _ in model.named_parameters()}


def test_groups_of_papers_that_do_not_decay_tokens():
    model = image.tiny()
    _, free = AdamW(no_decay=("prefix", "mask_token")).build(model).param_groups
    assert {"encoder.prefix", "decoder.mask_token"} <= names_of(free, model)


def test_the_average_follows_the_weights():
    model = image.tiny()
    average = EMA(model, decay=0.9)
    start = model.encoder.embed.weight.detach().clone()
    with torch.no_grad():
        model.encoder.embed.weight.add_(1)
    average.update(model)
    assert torch.allclose(average.weights["encoder.embed.weight"], start + 0.1)
    with pytest.raises(ValueError, match=r"ema must lie in \(0, 1\), got 1"):
        EMA(model, decay=1)
    with pytest.raises(ValueError, match="lr must be positive"):
        AdamW(lr=0)
