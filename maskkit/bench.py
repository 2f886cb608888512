"""``maskkit bench``: this machine's figures. Ratios are medians of runs in alternation, since machines are noisy."""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

Step = Callable[[], None]


def main(words: list[str]) -> int:
    """Run one of the benchmarks."""
    works: dict[str, Callable[..., None]] = {"step": step, "import": imports, "kernels": kernels}
    if not words or words[0] not in works:
        print("maskkit bench {step,import,kernels}\n")
        for name, work in works.items():
            print(f"  {name:<10}{(work.__doc__ or '').splitlines()[0]}")
        return 0 if not words or words[0] in ("-h", "--help") else 2
    tyro.cli(works[words[0]], prog=f"maskkit bench {words[0]}", args=words[1:])
    return 0


def step(
    work: Literal["image", "points"] = "image",
    precision: Literal["both", "fp32", "bf16"] = "both",
    repeats: int = 7,
    peer: bool = True,
    device: str = "cpu",
    out: Path | None = None,
) -> None:
    """Time a training step (forward, backward, optimiser), beside transformers' where that is installed.

    Args:
        work: Modality; its module says which model, batch and peer.
        precision: float32, bfloat16 autocast, or both.
        repeats: Steps timed of each; the median counts.
        peer: Time the peer too, in alternation.
        device: cpu or cuda.
        out: JSON file to write.

    """
    import importlib

    import torch

    from maskkit.engine.memory import keep_freed_memory

    if device == "cpu":
        keep_freed_memory()  # as training does; the peer gains from it as well
    module = importlib.import_module(f"maskkit.modalities.{work}.bench")
    results: dict[str, Any] = {"machine": machine(device), "work": module.WORK}
    print(f"{module.WORK}\n{results['machine']}")
    for name in ("fp32", "bf16") if precision == "both" else (precision,):
        dtype = torch.float32 if name == "fp32" else torch.bfloat16
        peak = matrix_peak(dtype, device)
        contenders: dict[str, Step] = {"maskkit": module.ours(dtype, device)}
        if peer and module.peer is not None:
            contenders["peer"] = module.peer(dtype, device)
        flops = count_flops(contenders["maskkit"])
        seconds = alternate(contenders, repeats, device)
        row = {"peak_tflops": peak / 1e12, "flops": flops, "seconds": seconds}
        row["peak_share"] = {who: flops / took / peak for who, took in seconds.items()}
        print(f"{name}: machine's matrix peak {peak / 1e12:.2f} TFLOP/s, a step is {flops / 1e9:.0f} GFLOP")
        for who, took in seconds.items():
            print(f"  {who:<8} {took * 1e3:8.1f} ms   {flops / took / peak:5.1%} of the peak")
        if "peer" in seconds:
            row["ratio"] = seconds["maskkit"] / seconds["peer"]
            print(f"  maskkit takes {row['ratio']:.3f} of the time of {module.PEER}")
        results[name] = row
    if out is not None:
        out.write_text(json.dumps(results, indent=2) + "\n")


def imports(repeats: int = 5) -> None:
    """Time `import maskkit` and its image modality, in fresh processes, beside torch alone.

    Args:
        repeats: Processes started of each; the median counts.

    """
    codes = {
        "python": "pass",
        "torch": "import torch",
        "maskkit": "import maskkit",
        "maskkit, all public names": "import torch, maskkit; [getattr(maskkit, n) for n in maskkit.__all__]",
        "maskkit.modalities.image": "import maskkit.modalities.image",
    }
    times: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(repeats):
        for name, code in codes.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, took in medians.items():
        print(f"{name:<28} {took:6.2f} s   {took - medians['torch']:+6.2f} s beyond torch")


def kernels(
    repeats: int = 12,
    shapes: Annotated[tuple[tuple[int, int, int, int], ...], tyro.conf.UseAppendAction] = (),
) -> None:
    """Time attention by plain products against torch's fused form, forward and backward.

    Args:
        repeats: Of each; the median counts.
        shapes: Batch, heads, tokens, width of a head; the models' own by default.

    """
    import torch
    import torch.nn.functional as F

    from maskkit.kernels.attention import attention, plain_attention

    usual = ((8, 12, 50, 64), (8, 16, 197, 32), (2, 6, 160, 64), (2, 3, 1568, 64), (4, 12, 103, 64), (32, 6, 64, 64))
    forms: dict[str, Callable[..., Any]] = {
        "plain": plain_attention,
        "fused": F.scaled_dot_product_attention,
        "chosen": attention,
    }
    for dtype in (torch.float32, torch.bfloat16):
        for batch, heads, tokens, width in shapes or usual:
            qkv = torch.randn(batch, tokens, 3, heads, width, dtype=dtype).permute(2, 0, 3, 1, 4)
            q, k, v = (part.detach().requires_grad_() for part in qkv.unbind(0))
            grad = torch.randn_like(q)

            def one(form: Callable[..., Any], q: Any = q, k: Any = k, v: Any = v, grad: Any = grad) -> Step:
                def both_ways() -> None:
                    torch.autograd.grad(form(q, k, v), (q, k, v), grad)

                return both_ways

            took = alternate({name: one(form) for name, form in forms.items()}, repeats, "cpu")
            cells = "  ".join(f"{name} {seconds * 1e3:7.2f} ms" for name, seconds in took.items())
            print(f"{str(dtype)[6:]:<9} {batch:>3} x {heads:>2} x {tokens:>4} x {width}   {cells}")


def alternate(contenders: dict[str, Step], repeats: int, device: str) -> dict[str, float]:
    """Time callables in turn; returns each one's median in seconds. Two rounds warm up and do not count."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(repeats + 2):
        for name, work in contenders.items():
            _wait(device)
            began = time.perf_counter()
            work()
            _wait(device)
            if turn >= 2:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(values) for name, values in times.items()}


def matrix_peak(dtype: Any, device: str, *, size: int = 3072, repeats: int = 8) -> float:
    """Measure the fastest matrix product of this machine, in floating-point operations a second."""
    import torch

    a, b = torch.randn(size, size, dtype=dtype, device=device), torch.randn(size, size, dtype=dtype, device=device)
    best = float("inf")
    for _ in range(repeats):
        _wait(device)
        began = time.perf_counter()
        a @ b
        _wait(device)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best


def count_flops(work: Step) -> int:
    """Count the floating-point operations of the matrix products of a step."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


def machine(device: str) -> str:
    """Describe the machine in a line."""
    import torch

    if device.startswith("cuda"):
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{torch.get_num_threads()} threads, {capability}, torch {torch.__version__}"


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
