"""Micro-batches in a reproducible order, read by worker processes.

Every random choice about a sample depends on ``(seed, epoch, index)`` only, and neither on the number of workers nor on
interruptions of a run.
"""

import gc
import itertools
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from maskkit.batches import Fields, Sample, stack
from maskkit.data.samples import samples_in_order
from maskkit.data.skips import Skips
from maskkit.data.source import Bad, BadSampleError, Key, Source, epoch_order, num_items, read_sample
from maskkit.data.workers import Reading, watched
from maskkit.seeds import generator

ATTEMPTS = 100  # attempts to replace a broken sample


@dataclass(frozen=True)
class Batch:
    """Stacked samples, their keys, and the broken samples that were replaced."""

    samples: Tensor | Fields
    keys: tuple[Key, ...]
    bad: tuple[Bad, ...]
    failure: str = ""
    """An error that stops reading. Workers send it as text, because torch would add its traceback."""

    @property
    def indices(self) -> tuple[int, ...]:
        """The indices of the requested items."""
        return tuple(key.index for key in self.keys)

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory, for asynchronous copies to a GPU. torch's loader calls this."""
        return replace(self, samples=self.samples.pin_memory())


@dataclass(frozen=True)
class Stream(Sampler[list[Key]]):
    """An endless sequence of micro-batches of keys: number ``first``, then every ``stride``-th one.

    Micro-batch ``n`` holds samples ``n x size`` to ``(n + 1) x size`` of the run in every process, and ``stride``
    processes divide the same samples among them. Epochs follow each other without a gap, so a batch may hold the end of
    one epoch and the start of the next. MAE drops the incomplete last batch of an epoch instead.
    """

    source: Source
    size: int
    seed: int
    first: int = 0
    stride: int = 1

    def __iter__(self) -> Iterator[list[Key]]:
        """Yield micro-batches of keys without end."""
        length, known, order = len(self.source), -1, np.empty((0, 3), dtype=np.int64)
        for number in itertools.count(self.first, self.stride):
            keys = []
            for position in range(number * self.size, (number + 1) * self.size):
                epoch, offset = divmod(position, length)
                if epoch != known:
                    known, order = epoch, epoch_order(self.source, self.seed, epoch)
                keys.append(Key(*order[offset].tolist()))
            yield keys


Read = tuple[Key, Sample | None, list[Bad]]  # the requested key, the sample, and the broken samples before it


@dataclass(frozen=True)
class _Samples(Dataset[Read]):
    """Reads one sample in a worker. A broken sample is replaced by another one, chosen by the same seeds."""

    source: Source
    seed: int
    reading: Reading

    def __getitem__(self, key: Key) -> Read:
        bad: list[Bad] = []
        wanted = key
        for attempt in range(ATTEMPTS):
            try:
                # Seeds do not depend on the repeat, so that the repeats of an item have the same state and
                # replacements.
                with self.reading.item(wanted.index):
                    rng = generator(self.seed, key.epoch, key.index, attempt)
                    return key, read_sample(self.source, wanted, rng), bad
            except BadSampleError as error:
                bad.append((error.path, error.reason))
            redraw = generator(self.seed, key.epoch, key.index, attempt, 1)
            other = torch.randint(num_items(self.source), (), generator=redraw)
            wanted = Key(key.epoch, int(other), key.repeat)
        return key, None, bad


def _collate(read: list[Read]) -> Batch:
    keys = tuple(key for key, _, _ in read)
    samples = [sample for _, sample, _ in read if sample is not None]
    bad = tuple(pair for _, _, pairs in read for pair in pairs)
    if len(samples) < len(read):
        path, reason = bad[-1]
        failure = f"{ATTEMPTS} samples in a row cannot be read (last: {path}: {reason}); fix the data"
        return Batch(torch.empty(0), keys, bad, failure)
    try:
        return Batch(stack(samples), keys, bad)
    except ValueError as error:
        return Batch(torch.empty(0), keys, bad, str(error))


def _leave_group(worker: int) -> None:
    """Protect a loader process from signals to the process group of a run (Ctrl-C, timeout).

    The current step, which is finished first, still needs its samples.
    """
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def load(source: Source, stream: Stream, *, workers: int = 0) -> Iterator[Batch]:
    """Read the micro-batches of a stream in ``workers`` processes.

    Raises ValueError if too many samples in a row cannot be read, or samples do not stack, and LoaderDiedError if a
    process dies or gives nothing.
    """
    if workers:
        # What this process has read and not yet freed (frames of videos with threads of their own) would be freed in
        # the forked workers, where those threads are missing and the wait for them has no end.
        gc.collect()
    reading = Reading(workers)
    loader: DataLoader[Batch] = DataLoader(
        _Samples(source, stream.seed, reading),  # type: ignore[arg-type]  # Dataset cannot say that keys are no integers
        batch_sampler=stream,
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
        prefetch_factor=4 if workers else None,
        # Children of this process end when it is killed. Those of a fork server (the default of Python 3.14) watch the
        # server and stay.
        multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        worker_init_fn=_leave_group,
        generator=generator(stream.seed),  # otherwise starting the workers would draw from torch's global generator
    )
    for batch in watched(loader, source, reading):
        if batch.failure:
            raise ValueError(batch.failure)
        yield batch


def read_all(source: Source, *, batch: int, skips: "Skips") -> Iterator[tuple[list[int], Tensor | Fields]]:
    """Read a source once, in order, without broken samples, for probes and embeddings.

    Yields the indices of up to ``batch`` samples, and these samples stacked [B ...].
    """
    found = samples_in_order(source, lambda bad: skips.add((bad,)))
    while several := list(itertools.islice(found, batch)):
        yield [index for index, _ in several], stack([sample for _, sample in several])
