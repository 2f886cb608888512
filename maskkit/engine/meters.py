"""Measurements of a run: throughput, time spent waiting for data, and memory."""

import time
from dataclasses import dataclass, field

import torch

from maskkit.engine.device import peak_memory
from maskkit.engine.forecast import Forecast


@dataclass
class Meters:
    """The throughput of a run since its last logged step. Times are in seconds."""

    batch: int
    """Samples per step, over all processes."""
    device: torch.device
    expected: Forecast
    processes: int
    step: int = 0
    """The last step that was logged."""
    waited: float = 0.0
    """Seconds spent waiting for data since then."""
    began: float = field(default_factory=time.perf_counter)

    def restart(self, step: int) -> None:
        """Restart the measurement after a step."""
        self.began, self.waited, self.step = time.perf_counter(), 0.0, step

    def read(self, step: int) -> dict[str, float | int]:
        """Return the measurements of the steps since the last call, and restart."""
        seconds = time.perf_counter() - self.began
        throughput = (step - self.step) * self.batch / seconds
        numbers = {
            "samples_per_second": throughput,
            "data_wait": self.waited / seconds,
            "mfu": self.expected.flops * throughput / self.processes / self.expected.peak,
            "memory": peak_memory(self.device),
        }
        self.restart(step)
        return numbers
