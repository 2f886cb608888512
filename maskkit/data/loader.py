"""Micro-batches in a reproducible order, read by worker processes.

Every random choice about a sample comes from ``(seed, epoch, index)`` alone, so it depends neither on the number of
workers nor on where a run was interrupted.
"""

import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from maskkit.data.skips import Skips
from maskkit.data.source import Bad, BadSampleError, Key, Source, epoch_order
from maskkit.seeds import generator

ATTEMPTS = 100  # of finding another sample in place of a broken one, before giving up


@dataclass(frozen=True)
class Batch:
    """Samples stacked, the indices they were asked for by, and the broken files that were met on the way."""

    samples: Tensor
    indices: tuple[int, ...]
    bad: tuple[Bad, ...]
    failure: str = ""
    """Why there are no samples. Errors cross from a worker as text, since torch would wrap them in its traceback."""

    def pin_memory(self) -> "Batch":
        """Pin the samples, so that their copy to a GPU need not wait; torch's loader calls this."""
        return replace(self, samples=self.samples.pin_memory())


@dataclass(frozen=True)
class Stream(Sampler[list[Key]]):
    """Micro-batches of (epoch, index) without end: number ``first``, then every ``stride``-th one.

    Micro-batch ``n`` holds samples ``n x size`` to ``(n + 1) x size`` of the run, whoever asks for it: with as many
    processes as ``stride`` says they share out the same samples. Epochs follow each other without a gap, and a batch
    may hold the end of one and the start of the next. MAE drops the incomplete last batch of an epoch instead, so that
    some samples miss an epoch.
    """

    source: Source
    size: int
    seed: int
    first: int = 0
    stride: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield micro-batches for ever."""
        length, known, order = len(self.source), -1, np.empty((0, 2), dtype=np.int64)
        for number in itertools.count(self.first, self.stride):
            keys = []
            for place in range(number * self.size, (number + 1) * self.size):
                epoch, offset = divmod(place, length)
                if epoch != known:
                    known, order = epoch, epoch_order(self.source, self.seed, epoch)
                keys.append((int(order[offset, 0]), int(order[offset, 1])))
            yield keys


@dataclass(frozen=True)
class _Samples(Dataset[tuple[int, Tensor | None, list[Bad]]]):
    """Reads one sample in a worker; in place of a broken one, another that the same seeds name."""

    source: Source
    seed: int

    def __getitem__(self, key: Key) -> tuple[int, Tensor | None, list[Bad]]:
        epoch, asked = key
        bad: list[Bad] = []
        index = asked
        for attempt in range(ATTEMPTS):
            try:
                return asked, self.source.read(index, generator(self.seed, epoch, asked, attempt)), bad
            except BadSampleError as error:
                bad.append((error.path, error.reason))
            redraw = generator(self.seed, epoch, asked, attempt, 1)
            # A source may carry what an epoch needs in multiples of its length (see Videos.order): they stay.
            index = asked // len(self.source) * len(self.source) + int(
                torch.randint(len(self.source), (), generator=redraw)
            )
        return asked, None, bad


def _collate(samples: list[tuple[int, Tensor | None, list[Bad]]]) -> Batch:
    indices = tuple(index for index, _, _ in samples)
    tensors = [tensor for _, tensor, _ in samples if tensor is not None]
    bad = tuple(pair for _, _, pairs in samples for pair in pairs)
    shapes = sorted({tuple(tensor.shape) for tensor in tensors})
    failure = ""
    if len(tensors) < len(samples):
        path, reason = bad[-1]
        failure = f"{ATTEMPTS} samples in a row cannot be read (last: {path}: {reason}); mend the data"
    elif len(shapes) > 1:
        failure = f"samples of one batch have different shapes: {', '.join(map(str, shapes))}; crop or pad them alike"
    return Batch(torch.empty(0) if failure else torch.stack(tensors), indices, bad, failure)


def _leave_group(worker: int) -> None:
    """Take a loader process out of the reach of signals to all of a run (Ctrl-C, timeout), which save it and end it.

    The step that is to be finished first still needs its samples.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def load(source: Source, stream: Stream, *, workers: int = 0) -> Iterator[Batch]:
    """Read the micro-batches of a stream in ``workers`` processes.

    Raises ValueError when too many in a row cannot be read, or samples do not stack.
    """
    loader: DataLoader[Batch] = DataLoader(
        _Samples(source, stream.seed),  # type: ignore[arg-type]  # keys are (epoch, index), which Dataset cannot say
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        # Children of this very process notice when it is killed, and end; those of a fork server (the default of
        # Python 3.14) watch the server, and stay.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        worker_init_fn=_leave_group,
        generator=generator(stream.seed),  # else starting the workers would draw from torch's global generator
    )
    for batch in loader:
        if batch.failure:
            raise ValueError(batch.failure)
        yield batch


def read_all(source: Source, *, batch: int, skips: "Skips") -> Iterator[tuple[list[int], Tensor]]:
    """Read a whole source once, in order, leaving broken samples out: for probes and embeddings."""
    indices: list[int] = []
    samples: list[Tensor] = []
    for index in range(len(source)):
        try:
            samples.append(source.read(index, generator(0, index)))
            indices.append(index)
        except BadSampleError as error:
            skips.add(((error.path, error.reason),))
        if samples and (len(samples) == batch or index == len(source) - 1):
            yield indices, torch.stack(samples)
            indices, samples = [], []
