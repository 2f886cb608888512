"""How to time: runs in alternation, medians, operations counted. Machines are noisy, so only ratios are reported."""

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maskkit.bench.workload import Run
from maskkit.files import whole_file
from maskkit.progress import track

if TYPE_CHECKING:
    import torch

Precision = Literal["both", "fp32", "bf16"]


def training_step(
    loss: "Callable[[], torch.Tensor]", optimizer: "torch.optim.Optimizer", dtype: "torch.dtype", device: str
) -> Run:
    """Return what is timed: the loss (a scalar), computed under autocast, its gradient and the optimiser's step."""
    import torch

    def run() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return run


def precisions(which: Precision) -> "dict[str, torch.dtype]":
    """Return the types that are timed, by name."""
    import torch

    types = {"fp32": torch.float32, "bf16": torch.bfloat16}
    return types if which == "both" else {which: types[which]}


def alternate(contenders: Mapping[str, Run], repeats: int, device: str) -> dict[str, float]:
    """Time functions in turn; returns each one's median in seconds. Two rounds warm up and do not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in track(range(repeats + 2), "rounds"):
        for name, run in contenders.items():
            _wait(device)
            began = time.perf_counter()
            run()
            _wait(device)
            if turn >= 2:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def count_flops(run: Run) -> int:
    """Count the floating-point operations of the matrix products of a run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return int(counter.get_total_flops())


def machine(device: str) -> str:
    """Describe the machine in a line."""
    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{torch.get_num_threads()} threads, {capability}, torch {torch.__version__}"


def write_record(out: Path | None, record: Mapping[str, object]) -> None:
    """Write results as JSON, where a file is asked for."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(out) as aside:
            aside.write_text(json.dumps(record, indent=2) + "\n")


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
