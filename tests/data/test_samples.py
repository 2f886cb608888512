"""Samples read one by one: in order, the same each time, however many at the start are broken."""

import contextlib

import pytest
import torch

from maskkit.batches import Fields
from maskkit.data.samples import TRIES, first_samples, samples_in_order, trial_keys
from maskkit.engine.forecast import forecast
from tests.data.test_loader import Named, Numbers, Repeated


def test_all_that_can_be_read_come_in_order():
    bad = []
    found = list(samples_in_order(Numbers(8, broken=[0, 5]), bad.append))
    assert [index for index, _ in found] == [1, 2, 3, 4, 6, 7]
    assert bad == [("number 0", "broken on purpose"), ("number 5", "broken on purpose")]
    again = samples_in_order(Numbers(8, broken=[0, 5]), bad.append)
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(found, again, strict=True))
    repeats = [(index, int(sample[2])) for index, sample in samples_in_order(Repeated(2), bad.append)]
    assert repeats == [(index, repeat) for index in range(2) for repeat in range(3)]


def test_the_first_samples_are_found_behind_broken_ones():
    assert [int(sample[0]) for sample in first_samples(Numbers(60, broken=range(40)), 3)] == [40, 41, 42]
    assert len(first_samples(Numbers(4, broken=[1]), 8)) == 3
    assert first_samples(Numbers(3, broken=range(3)), 8) == []


def test_trials_are_spread_and_then_reach_every_sample():
    indices = [key.index for key in trial_keys(Numbers(100), 10)]
    assert indices[:10] == list(range(0, 100, 10)) and sorted(indices) == list(range(100))
    assert [key.index for key in trial_keys(Numbers(3), 10)] == [0, 1, 2]
    many = [key.index for key in trial_keys(Numbers(10**9), 10)]
    assert len(many) == 10 + TRIES and len(set(many)) == len(many) and max(many) > 9e8


class Squares(torch.nn.Module):
    """The least model: the mean square of what it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)

    def forward(self, batch, rng=None):
        x = batch["x"] if isinstance(batch, Fields) else batch
        return type("Output", (), {"loss": self.weight(x.flatten()[:, None]).square().mean()})


@pytest.mark.parametrize("kind", [Numbers, Named])
def test_a_forecast_is_made_although_most_samples_are_broken(kind):
    """All that are tried first are broken: every second one of 64."""
    source = kind(64, broken=range(0, 64, 2))
    found = forecast(Squares(), source, torch.device("cpu"), contextlib.nullcontext(), micro=4)
    assert found.parameters == 2 and found.model_pace > 0 and found.reader_pace > 0
    with pytest.raises(ValueError, match=r"none of 64 samples can be read \(the first: number 0: broken on purpose\)"):
        forecast(Squares(), kind(64, broken=range(64)), torch.device("cpu"), contextlib.nullcontext(), micro=4)
