"""Schedules and parameter groups as the papers have them."""

import math

import pytest
import torch

from maskkit.modalities import image
from maskkit.optim import EMA, AdamW, Group, Schedule, WarmupCosine, clip_gradients, scaled_lr


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


GROUPS = (
    Group(names=("encoder.embed.*",), lr=0),
    Group(names=("decoder.*", "encoder.norm.*"), lr=0.1, weight_decay=0.2, betas=(0.5, 0.6), warmup=2, min_lr=0.01),
    Group(names=("decoder.head.*", "encoder.blocks.0.*"), clip=0.5),
)


def test_a_parameter_belongs_to_the_first_group_that_names_it():
    model = image.tiny()
    settings = AdamW(lr=1.0, groups=GROUPS)
    settings.freeze(model)
    rows = settings.build(model).param_groups
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    held = [names_of(row, model) for row in rows]
    assert set().union(*held) == trained and sum(map(len, held)) == len(trained)
    assert not [name for name in trained if name.startswith("encoder.embed")]
    own = {id(row["group"]): row["group"] for row in rows}
    assert [*own.values()] == [None, *GROUPS[1:]]
    for row, names in zip(rows, held, strict=True):
        decoder = row["group"] is GROUPS[1]
        assert all(name.startswith(("decoder.", "encoder.norm.")) for name in names) == decoder
        assert "decoder.head.weight" not in names or decoder
        assert row["betas"] == ((0.5, 0.6) if decoder else (0.9, 0.95))
        assert row["weight_decay"] == ((0.2 if decoder else 0.05) if row["decays"] else 0.0)


def test_groups_have_schedules_of_their_own():
    model = image.tiny()
    settings = AdamW(lr=1.0, weight_decay=0.1, weight_decay_end=0.5, groups=GROUPS[1:])
    optimizer = settings.build(model)
    run = WarmupCosine(peak=1.0, steps=10, warmup=4, min_lr=0.2)
    schedule = Schedule(optimizer, settings, run)
    other = WarmupCosine(peak=0.1, steps=10, warmup=2, min_lr=0.01)
    for step in range(11):
        assert schedule.set(step) == run(step)
        decay = 0.1 + 0.4 * 0.5 * (1 - math.cos(math.pi * step / 10))
        for row in optimizer.param_groups:
            decoder = row["group"] is GROUPS[1]
            assert row["lr"] == pytest.approx((other if decoder else run)(step))
            # A group with a decay of its own keeps it, and what is not decayed stays so.
            wanted = 0.0 if not row["decays"] else 0.2 if decoder else decay
            assert row["weight_decay"] == pytest.approx(wanted)
    assert decay == pytest.approx(0.5)


def test_decay_stays_without_an_end():
    settings = AdamW(lr=1.0, weight_decay=0.3)
    optimizer = settings.build(image.tiny())
    Schedule(optimizer, settings, WarmupCosine(peak=1.0, steps=10)).set(5)
    assert [row["weight_decay"] for row in optimizer.param_groups] == [0.3, 0.0]


def norm_of(parameters):
    return torch.stack([p.grad.norm() for p in parameters]).norm().item()


@pytest.mark.parametrize("limit", [None, 2.0])
def test_gradients_are_clipped_group_by_group(limit):
    model = image.tiny()
    groups = (Group(names=("decoder.*",), clip=0.5), Group(names=("encoder.blocks.0.*",), lr=0.5))
    optimizer = AdamW(lr=1.0, groups=groups).build(model)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    own = [p for name, p in model.named_parameters() if name.startswith("decoder.")]
    rest = [p for name, p in model.named_parameters() if not name.startswith("decoder.")]
    before = norm_of(rest)
    clip_gradients(optimizer, limit, torch.nn.utils.get_total_norm([p.grad for p in model.parameters()]))
    assert norm_of(own) == pytest.approx(0.5, rel=1e-3)
    assert norm_of(rest) == pytest.approx(before if limit is None else limit, rel=1e-3)


def test_without_groups_all_gradients_are_scaled_together_and_small_ones_are_left():
    model = image.tiny()
    optimizer = AdamW(lr=1.0).build(model)
    for limit in (2.0, 10.0):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
        clip_gradients(optimizer, limit, norm)
        assert norm_of(model.parameters()) == pytest.approx(min(limit, norm.item()), rel=1e-3)


def test_what_is_frozen_gets_no_gradient_and_no_average():
    model = image.tiny()
    AdamW(groups=GROUPS[:1]).freeze(model)
    assert not model.encoder.embed.weight.requires_grad and model.encoder.norm.weight.requires_grad
    average = EMA(model, 0.9)
    assert "encoder.embed.weight" not in average.weights and "encoder.norm.weight" in average.weights
    everything = AdamW(groups=(Group(names=("*",), lr=0),))
    everything.freeze(model)
    with pytest.raises(
        ValueError, match="nothing is trained: the groups freeze every parameter; give one a rate above"
    ):
        everything.build(model)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"names": ()}, "needs at least one pattern of names"), ({"names": ("*",), "lr": -1}, "at least 0, got -1")],
)
def test_groups_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Group(**settings)


def test_what_is_asked_for_goes_over_the_default():
    default = AdamW(lr=1.0, betas=(0.1, 0.2), weight_decay=0.3, no_decay=("a",), groups=GROUPS)
    assert AdamW().over(default) == default
    assert AdamW(weight_decay=0.0).over(default).weight_decay == 0.0
    assert AdamW(lr=2.0).over(default) == AdamW(
        lr=2.0, betas=(0.1, 0.2), weight_decay=0.3, no_decay=("a",), groups=GROUPS
    )
