"""``maskkit bench``: this machine's figures. Ratios are medians of runs in alternation, since machines are noisy."""

import functools
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import tyro

if TYPE_CHECKING:  # `maskkit --help` does without torch
    import torch

Step = Callable[[], Any]


def training_step(
    loss: "Callable[[], torch.Tensor]", optimizer: "torch.optim.Optimizer", dtype: "torch.dtype", device: str
) -> Step:
    """Return what is timed: the loss, computed under autocast, its gradient and the optimiser's step."""
    import torch

    def run() -> None:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return run


def main(words: list[str]) -> int:
    """Run one of the benchmarks."""
    works: dict[str, Callable[..., None]] = {
        "step": step,
        "memory": memory,
        "data": data,
        "loop": loop,
        "kernels": kernels,
        "import": imports,
    }
    if not words or words[0] not in works:
        print(f"maskkit bench {{{','.join(works)}}}\n")
        for name, work in works.items():
            print(f"  {name:<10}{(work.__doc__ or '').splitlines()[0]}")
        return 0 if not words or words[0] in ("-h", "--help") else 2
    tyro.cli(works[words[0]], prog=f"maskkit bench {words[0]}", args=words[1:])
    return 0


def step(
    work: str = "image",
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
    import torch

    from maskkit.engine.device import keep_freed_memory
    from maskkit.engine.forecast import matrix_peak

    if device == "cpu":
        keep_freed_memory()  # as training does; the peer gains from it as well
    module = _bench_of(work)
    results: dict[str, Any] = {"machine": machine(device), "work": module.WORK}
    print(f"{module.WORK}\n{results['machine']}")
    for name in ("fp32", "bf16") if precision == "both" else (precision,):
        dtype = torch.float32 if name == "fp32" else torch.bfloat16
        peak = matrix_peak(dtype, torch.device(device))
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


def memory(
    work: str = "image",
    precision: Literal["both", "fp32", "bf16"] = "both",
    peer: bool = True,
    device: str = "cpu",
    out: Path | None = None,
) -> None:
    """Measure the most memory that a training step holds, weights and optimiser included, beside the peer's.

    Args:
        work: Modality; its module says which model, batch and peer.
        precision: float32, bfloat16 autocast, or both.
        peer: Measure the peer too.
        device: cpu (what the process takes more than before) or cuda (what torch has allocated).
        out: JSON file to write.

    """
    import multiprocessing

    module = _bench_of(work)
    results: dict[str, Any] = {"machine": machine(device), "work": module.WORK}
    print(f"{module.WORK}\n{results['machine']}")
    whose = {"maskkit": "ours", "peer": "peer"} if peer and module.peer is not None else {"maskkit": "ours"}
    for name in ("fp32", "bf16") if precision == "both" else (precision,):
        results[name] = {}
        for who, function in whose.items():
            with multiprocessing.get_context("spawn").Pool(1) as process:  # a peak does not go down again
                results[name][who] = process.apply(_peak_memory, (work, function, name, device))
            print(f"{name}: {who:<8} {results[name][who] / 1e6:8.0f} MB")
        if "peer" in whose:
            print(f"{name}: maskkit holds {results[name]['maskkit'] / results[name]['peer']:.3f} of {module.PEER}")
    if out is not None:
        out.write_text(json.dumps(results, indent=2) + "\n")


def _bench_of(work: str) -> Any:
    """Import what a modality's benchmarks time."""
    import importlib

    try:
        return importlib.import_module(f"maskkit.modalities.{work}.bench")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("maskkit.modalities"):
            raise
        raise ValueError(f"nothing to time for {work!r}; --work takes image, video, audio or points") from None


def _peak_memory(work: str, function: str, precision: str, device: str) -> int:
    """Return the bytes that three steps take at their peak, in a process that has done nothing else."""
    import resource

    import torch

    module = _bench_of(work)
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    torch.ones(64, 64).mm(torch.ones(64, 64))  # libraries load what they need
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    run = getattr(module, function)(dtype, device)
    for _ in range(3):
        run()
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024


def data(
    work: str = "image",
    path: str | None = None,
    workers: tuple[int, ...] = (0, 1, 2),
    batch: int = 32,
    seconds: float = 5.0,
    count: int = 24,
    out: Path | None = None,
) -> None:
    """Time the reader alone: by number of workers on your data, or beside the plain library on files made for it.

    Args:
        work: Modality.
        path: What --data of `maskkit pretrain` takes; without it the modality's own comparison runs, if it has one.
        workers: Numbers of processes to try on --path.
        batch: Samples in a batch of --path.
        seconds: How long to read --path with each; the first batch does not count.
        count: Calls timed of each way of reading in the comparison; the median counts.
        out: JSON file to write.

    """
    import importlib

    module = _bench_of(work)
    if path is not None:
        paces = _pace(importlib.import_module(f"maskkit.modalities.{work}"), path, workers, batch, seconds)
    else:
        if not hasattr(module, "readers"):
            raise ValueError(f"{work} has no comparison of readers; name your data: --path PATH")
        with module.readers(None) as ways:  # name: (a function of a running number, samples that one call reads)
            turns = itertools.count()
            works: dict[str, Step] = {name: functools.partial(_turn, read, turns) for name, (read, _) in ways.items()}
            paces = {name: ways[name][1] / took for name, took in alternate(works, count, "cpu").items()}
        print(module.READING)
    print(machine("cpu"))
    first = next(iter(paces))
    for name, pace in paces.items():
        print(f"  {name:<44} {pace:8.1f} samples/s   {pace / paces[first]:5.2f} times {first}")
    if out is not None:
        out.write_text(json.dumps({"machine": machine("cpu"), "samples_per_second": paces}, indent=2) + "\n")


def _pace(modality: Any, path: str, workers: tuple[int, ...], batch: int, seconds: float) -> dict[str, float]:
    """Read a data set in training transforms; returns samples a second by number of workers."""
    from maskkit.data.loader import Stream, load
    from maskkit.data.skips import Skips
    from maskkit.modality import as_modality

    modality = as_modality(modality)
    fit = modality.fit(next(iter(modality.presets.values()))(), modality.data(root=path), print)
    source = fit.data.open(fit.model.build().tokenizer, train=True)
    skips = Skips(total=len(source), limit=1)
    paces = {}
    for count in workers:
        batches = load(source, Stream(source, batch, seed=0), workers=count)
        skips.add(next(batches).bad)
        began, read = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            found = next(batches)
            skips.add(found.bad)
            read += found.samples.shape[0]
        paces[f"{count} workers"] = read / (time.perf_counter() - began)
        del batches  # ends the workers
    print(f"samples of {' x '.join(map(str, found.samples.shape[1:]))}, {len(skips)} broken ones replaced")
    return paces


def _turn(read: Callable[[int], Any], turns: Iterator[int]) -> None:
    read(next(turns))


def loop(size: str = "small", batch: int = 8, steps: int = 4, rounds: int = 5) -> None:
    """Time what the training loop adds to a bare step (seeds, norms, checks, logs), and what a checkpoint costs.

    Args:
        size: Of the image MAE.
        batch: Samples a step.
        steps: Timed in a row; one more warms up.
        rounds: Bare steps and the loop take turns; medians count.

    """
    import contextlib
    import importlib
    import io
    import tempfile

    import torch

    from maskkit.engine.checkpoints import Checkpoints, TrainState
    from maskkit.engine.device import keep_freed_memory
    from maskkit.engine.distributed import World
    from maskkit.engine.loop import train
    from maskkit.engine.manifest import Progress
    from maskkit.engine.optim import AdamW
    from maskkit.engine.settings import Pretrain

    keep_freed_memory()
    image = importlib.import_module("maskkit.modalities.image")
    source = _Ready(torch.randint(0, 256, (3, 224, 224), dtype=torch.uint8))

    def bare(folder: Path) -> tuple[float, float, float]:
        model = image.mae(size).train()
        optimizer = AdamW(lr=1e-5).build(model)
        for step in range(steps + 1):
            if step == 1:
                began = time.perf_counter()
            model(torch.stack([source.sample] * batch)).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        took = (time.perf_counter() - began) / steps
        checkpoints = Checkpoints(folder, World(torch.device("cpu")))
        checkpoints.save(TrainState(model, optimizer, None), Progress(step=1))
        return took, checkpoints.seconds, sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6

    def looped(folder: Path) -> float:
        settings: Pretrain[Any, Any] = Pretrain(
            model=None,
            data=None,
            out=folder,
            batch=batch,
            steps=steps + 1,
            precision="fp32",
            workers=0,
            log_every=1,
            device="cpu",
        )
        train(image.mae(size), source, settings, modality="image")
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        return sum(batch / line["samples_per_second"] for line in lines[1:]) / steps

    bares, loops = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            bares.append(bare(Path(folder) / "checkpoints"))
            loops.append(looped(Path(folder) / "run"))
    one, saving, megabytes = (statistics.median(column) for column in zip(*bares, strict=True))
    other = statistics.median(loops)
    print(f"ViT-{size}, batch {batch}, fp32: bare step {one * 1e3:.1f} ms, in the loop {other * 1e3:.1f} ms")
    print(f"the loop adds {other / one - 1:+.1%}; a checkpoint of {megabytes:.0f} MB takes {saving:.2f} s")


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


def kernels(repeats: int = 12, device: str = "cpu", out: Path | None = None) -> None:
    """Time attention and the operations on points, as dispatched, beside their references.

    Args:
        repeats: Of each; the median counts.
        device: cpu or cuda.
        out: JSON file to write.

    """
    from maskkit.bench.kernels import contests

    results: dict[str, Any] = {"machine": machine(device)}
    print(results["machine"])
    for title, forms in contests(device):
        results[title] = alternate(forms, repeats, device)
        print(f"{title:<44}" + "  ".join(f"{name} {took * 1e3:8.2f} ms" for name, took in results[title].items()))
    if out is not None:
        out.write_text(json.dumps(results, indent=2) + "\n")


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


class _Ready:
    """A source of samples that cost nothing to read."""

    def __init__(self, sample: Any) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 4096

    repeats = 1

    def read(self, key: Any, rng: Any) -> Any:
        return self.sample

    def path(self, index: int) -> str:
        return str(index)

    def label(self, index: int) -> None:
        return None


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
