"""``maskkit bench memory``: the most memory that a training step holds."""

import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskkit.bench.timing import Precision, machine, precisions, write_record
from maskkit.bench.workload import find_workload

Who = Literal["ours", "peer"]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Measure the peak memory of a training step, including weights and optimiser, compared with the peer."""

    work: str = "image"
    """Modality, which defines the model, the batch and the peer."""
    precision: Precision = "both"
    """float32, bfloat16 autocast, or both."""
    peer: bool = True
    """Also measure the peer."""
    device: str = "cpu"
    """cpu (growth of the process) or cuda (memory allocated by torch)."""
    out: Path | None = None
    """JSON file to write the results to."""

    def run(self) -> None:
        """Measure, print, and write the record."""
        workload = find_workload(self.work)
        results: dict[str, object] = {"machine": machine(self.device), "work": workload.title}
        print(f"{workload.title}\n{results['machine']}")
        whose: dict[str, Who] = {"maskkit": "ours"}
        if self.peer and workload.peer is not None:
            whose["peer"] = "peer"
        for name in precisions(self.precision):
            sizes = {}
            for who, function in whose.items():
                with multiprocessing.get_context("spawn").Pool(1) as process:  # a peak does not go down again
                    sizes[who] = process.apply(peak_memory, (self.work, function, name, self.device))
                print(f"{name}: {who:<8} {sizes[who] / 1e6:8.0f} MB")
            if "peer" in sizes:
                print(f"{name}: maskkit holds {sizes['maskkit'] / sizes['peer']:.3f} of {workload.peer_name}")
            results[name] = sizes
        write_record(self.out, results)


def peak_memory(work: str, who: Who, precision: Precision, device: str) -> int:
    """Return the bytes that three steps take at their peak, in a process that has done nothing else."""
    import resource

    import torch

    workload, (dtype,) = find_workload(work), precisions(precision).values()
    torch.ones(64, 64).mm(torch.ones(64, 64))  # libraries load what they need
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    make = workload.ours if who == "ours" else workload.peer
    if make is None:
        raise ValueError(f"{work} has no peer to measure; leave it out with --no-peer")
    run = make(dtype, device)
    for _ in range(3):
        run()
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
