"""What a run measures of itself, on a clock that a test holds."""

import pytest
import torch

from maskkit.engine import meters
from maskkit.engine.forecast import Forecast
from maskkit.engine.meters import Meters

EXPECTED = Forecast(parameters=1, flops=10**6, peak=1e9, model_pace=1.0, reader_pace=1.0)


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(meters, "time", made)
    return made


@pytest.mark.parametrize("processes", [1, 4])
def test_speed_is_that_since_the_last_reading(clock, processes):
    found = Meters(32, torch.device("cpu"), EXPECTED, processes, step=10, began=clock.now)
    clock.now += 4
    found.waited += 1
    numbers = found.read(20)
    assert numbers["samples_per_second"] == 80 and numbers["data_wait"] == 0.25
    assert numbers["mfu"] == pytest.approx(80 * 1e6 / processes / 1e9) and numbers["memory"] > 0
    clock.now += 2
    assert found.read(21) == {
        **numbers,
        "samples_per_second": 16,
        "data_wait": 0,
        "mfu": numbers["mfu"] / 5,
        "memory": pytest.approx(numbers["memory"], rel=0.5),
    }


def test_what_came_before_a_restart_does_not_count(clock):
    found = Meters(8, torch.device("cpu"), EXPECTED, 1, began=clock.now)
    clock.now += 1000
    found.waited = 999
    found.restart(5)  # as after going back
    clock.now += 2
    numbers = found.read(7)
    assert numbers["samples_per_second"] == 8 and numbers["data_wait"] == 0
