"""``maskkit bench data``: the reader alone, without a model."""

import functools
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskkit.bench.timing import alternate, machine, write_record
from maskkit.bench.workload import Read, Run, find_workload
from maskkit.methods import methods_of
from maskkit.modality import find_modality
from maskkit.ranges import Count, Positive, Processes, Samples

if TYPE_CHECKING:
    from maskkit.data.source import Source


@dataclass(frozen=True, kw_only=True)
class Data:
    """Measure the reader by number of workers on your data, or compared with plain libraries on generated files."""

    work: str = "image"
    """Modality."""
    path: str | None = None
    """Data to read, as for --data of `maskkit pretrain`. By default the modality's own comparison runs."""
    workers: tuple[Processes, ...] = (0, 1, 2)
    """Numbers of worker processes to measure on --path."""
    batch: Samples = 32
    """Batch size for --path."""
    seconds: Positive = 5.0
    """Seconds to read --path for each number of workers, without the first batch."""
    count: Count = 24
    """Number of timed calls per reader in the comparison. The median is reported."""
    out: Path | None = None
    """JSON file to write the results to."""

    def run(self) -> None:
        """Measure, print and write the results."""
        find_modality(self.work)
        speeds = self._on_path(self.path) if self.path is not None else self._beside_others()
        print(machine("cpu"))
        first = next(iter(speeds))
        for name, speed in speeds.items():
            print(f"  {name:<44} {speed:8.1f} samples/s   {speed / speeds[first]:5.2f} times {first}")
        write_record(self.out, {"machine": machine("cpu"), "samples_per_second": speeds})

    def _on_path(self, path: str) -> dict[str, float]:
        """Read a data set with training transforms; returns samples per second by number of workers."""
        found = find_modality(self.work)
        data = found.data(root=path)  # type: ignore[call-arg]  # settings of data have a root
        fit = found.fit(next(iter(methods_of(found).values()))(), data, print)
        source = fit.data.open(fit.model.build().tokenizer, train=True)
        return {f"{count} workers": throughput(source, count, self.batch, self.seconds) for count in self.workers}

    def _beside_others(self) -> dict[str, float]:
        workload = find_workload(self.work)
        if workload.readers is None:
            raise ValueError(f"{self.work} has no comparison of readers; name your data: --path PATH")
        with workload.readers(None) as ways:
            turns = itertools.count()
            runs: dict[str, Run] = {name: functools.partial(_turn, read, turns) for name, (read, _) in ways.items()}
            speeds = {name: ways[name][1] / took for name, took in alternate(runs, self.count, "cpu").items()}
        print(workload.reading)
        return speeds


def throughput(source: "Source", workers: int, batch: int, seconds: float) -> float:
    """Return the samples read per second, measured over ``seconds`` without the first batch."""
    from maskkit.data.loader import Stream, load
    from maskkit.data.skips import Skips

    skips = Skips(total=len(source), limit=1)
    batches = load(source, Stream(source, batch, seed=0), workers=workers)
    skips.add(next(batches).bad)
    began, read = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        found = next(batches)
        skips.add(found.bad)
        read += len(found.indices)
    took = time.perf_counter() - began
    print(f"{workers} workers: {len(skips)} broken samples replaced")
    return read / took


def _turn(read: Read, turns: Iterator[int]) -> None:
    read(next(turns))
