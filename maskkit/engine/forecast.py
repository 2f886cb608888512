"""A forecast of the cost of a run, measured before it starts: operations per sample and throughputs."""

import itertools
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from maskkit.batches import Fields, Sample, stack
from maskkit.data.samples import trial_keys
from maskkit.data.source import BadSampleError, Source, read_sample
from maskkit.kernels.linear import linear
from maskkit.model import MaskedModel
from maskkit.progress import clock
from maskkit.seeds import generator

TRIALS = 8  # samples of the trial
SHORT = 0.05  # seconds below which the trial is repeated with more samples
READ_SECONDS = 1.0
HEADROOM = 1.1  # factor by which the reader must be faster than the model, so that the model never waits


@dataclass(frozen=True)
class Forecast:
    """Measurements on a few samples, in one process."""

    parameters: int
    flops: int
    """Floating-point operations of the matrix products of one sample, forward and backward."""
    peak: float
    """Throughput of the fastest matrix product of the device, in floating-point operations per second."""
    model_pace: float
    """Throughput of the model in samples per second, forward and backward."""
    reader_pace: float
    """Throughput of one worker in samples per second."""
    kept: int = 0
    """Bytes per sample that are kept between the forward and the backward pass."""

    def check_memory(self, micro: int, memory: int) -> None:
        """Raise ValueError if weights, their optimiser and a micro-batch need more than ``memory`` bytes."""
        weights = 16 * self.parameters  # float32: the weights, their gradients and AdamW's two moments
        if weights > memory:
            raise ValueError(
                f"the model has {self.parameters / 1e6:,.0f} M parameters, which need {weights / 2**30:.1f} GiB in "
                f"training, and there are {memory / 2**30:.1f} GiB; choose a smaller --size"
            )
        if weights + micro * self.kept > memory:
            raise ValueError(
                f"{micro} samples in one pass need {(weights + micro * self.kept) / 2**30:.1f} GiB, and there are "
                f"{memory / 2**30:.1f} GiB; set --micro-batch to at most {max((memory - weights) // self.kept, 1)}"
            )

    def lines(self, *, steps: int, batch: int, processes: int, workers: int) -> list[str]:
        """Return the forecast as two or three lines of text."""
        samples, pace = steps * batch, self.model_pace * processes
        lines = [
            f"{self.parameters / 1e6:.1f} M parameters, {self.flops / 1e9:.2f} GFLOP a sample forward and backward; "
            f"{steps:,} steps of {batch} samples",
            f"about {pace:.0f} samples/s, {clock(samples / pace)} in all "
            f"({self.flops * self.model_pace / self.peak:.0%} of the {self.peak / 1e12:.2f} TFLOP/s measured here)",
        ]
        readers = min(max(workers, 1), os.cpu_count() or 1)
        if self.reader_pace * readers < HEADROOM * self.model_pace:
            where = f"in {workers} workers" if workers else "without workers"
            lines.append(
                f"the reader gives about {self.reader_pace * readers:.0f} samples/s {where}, the model takes "
                f"{self.model_pace:.0f}: raise --workers ({os.cpu_count()} cores here), or store smaller files"
            )
        return lines


def plan(
    expected: Forecast, step: int, steps: int, batch: int, processes: int, workers: int, *, resumes: bool
) -> list[str]:
    """Return what is left to do after ``step`` of ``steps``, and how long it takes, for the user."""
    if step >= steps:
        return [f"the run is complete: {step} of {steps} steps; raise --steps to train further"]
    lines = expected.lines(steps=steps - step, batch=batch, processes=processes, workers=workers)
    return [f"continues at step {step} of {steps}", *lines] if resumes else lines


def forecast(
    model: MaskedModel, source: Source, device: torch.device, autocast: AbstractContextManager[object], micro: int
) -> Forecast:
    """Measure reading and training on a few samples. Weights, buffers and generators are left unchanged."""
    samples, reader_pace = _read_some(source)
    parameters = sum(p.numel() for p in model.parameters())
    batch = _batch(samples, min(micro, len(samples)), device)
    count = batch.shape[0]
    dtype = torch.get_autocast_dtype(device.type) if getattr(autocast, "_enabled", False) else torch.float32

    def work() -> None:
        with autocast:
            loss = model(batch, rng=generator(0)).loss
        loss.backward()
        model.zero_grad()

    was_training, state = model.training, torch.get_rng_state()
    model.eval()
    with FlopCounterMode(display=False) as counter:
        kept = _kept_bytes(model, work) // count
    flops = counter.get_total_flops() / count
    seconds = min(_time(work, device) for _ in range(2))
    while seconds < SHORT and count < micro:  # with few samples of a small model, torch's overhead would dominate
        count = min(2 * count, micro)
        batch = _batch(samples, count, device)
        seconds = min(_time(work, device) for _ in range(2))
    model.train(was_training)
    torch.set_rng_state(state)
    return Forecast(parameters, int(flops), matrix_peak(dtype, device), count / seconds, reader_pace, kept)


def matrix_peak(dtype: torch.dtype, device: torch.device, *, repeats: int = 5) -> float:
    """Measure the fastest matrix product of a device, in floating-point operations per second."""
    size = 8192 if device.type == "cuda" else 2048
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        return 2 * size**3 / min(_time(lambda: linear(a, b), device) for _ in range(repeats))


def _kept_bytes(model: MaskedModel, work: Callable[[], object]) -> int:
    """Return the bytes of all tensors that autograd keeps for a backward pass in ``work``, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    sizes: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        work()
    return sum(sizes.values())


def _batch(samples: list[Sample], count: int, device: torch.device) -> Tensor | Fields:
    """Stack ``count`` samples, repeating them if there are fewer."""
    return stack(list(itertools.islice(itertools.cycle(samples), count))).to(device)


def _read_some(source: Source) -> tuple[list[Sample], float]:
    """Return up to TRIALS samples, and the samples read per second. Raises ValueError if none can be read."""
    samples: list[Sample] = []
    bad: BadSampleError | None = None
    began = first = time.perf_counter()
    for tried, key in enumerate(trial_keys(source, 4 * TRIALS)):
        late = tried >= 4 * TRIALS or (len(samples) > 1 and time.perf_counter() - first > READ_SECONDS)
        if samples and (late or len(samples) == TRIALS):
            break
        try:
            samples.append(read_sample(source, key, generator(0, key.index)))
        except BadSampleError as error:  # unreadable samples are counted during training
            bad = bad or error
            continue
        if len(samples) == 1:  # the first sample imports libraries and opens files that stay open
            first = time.perf_counter()
    if not samples:
        raise ValueError(f"none of {tried + 1} samples can be read (the first: {bad}); fix the data")
    rest = len(samples) - 1
    took = time.perf_counter() - (first if rest else began)
    return samples, max(rest, 1) / max(took, 1e-9)


def _time(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began
