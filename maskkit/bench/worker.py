"""The process that ``maskkit bench step --against`` starts, one for each revision; it is run as a file.

It uses nothing of maskkit but a public preset, since the rest differs between revisions. The task comes as JSON in the
first argument. Each line on standard input asks for one training step; each answer is a line of JSON.
"""

import ctypes
import importlib
import json
import sys
import time
from typing import TypedDict

import torch


class Task(TypedDict):
    """A preset (``maskkit.bench.workload.Preset``), how it is run, and the sources that must be the ones imported."""

    module: str
    function: str
    arguments: dict[str, object]
    shape: list[int]
    precision: str
    device: str
    tree: str | None


def main(task: Task) -> None:
    """Build the model, say how many weights it has and its first loss, and take a step whenever asked."""
    keep_freed_memory()
    torch.manual_seed(0)
    module = importlib.import_module(task["module"])
    if task["tree"] is not None and not str(module.__file__).startswith(task["tree"]):
        sys.exit(f"{module.__file__} was imported, which is not of the other revision")
    device = task["device"]
    model = getattr(module, task["function"])(**task["arguments"]).to(device).train()
    batch = torch.randn(task["shape"], generator=torch.Generator().manual_seed(0)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, betas=(0.9, 0.95), weight_decay=0.05, fused=True)
    rng = torch.Generator().manual_seed(0)

    def step() -> float:
        with torch.autocast(device.split(":")[0], torch.bfloat16, enabled=task["precision"] == "bf16"):
            loss = model(batch, rng=rng).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        value: float = loss.item()
        return value

    count = sum(weight.numel() for weight in model.parameters())
    print(json.dumps({"parameters": count, "loss": step()}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()  # it reads the loss, and so waits for the device
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)


def keep_freed_memory() -> None:
    """Let the C library keep freed memory, as training does (``maskkit.engine.device``), at both revisions alike."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-3, 2**30)
        mallopt(-1, 2**31 - 1)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
