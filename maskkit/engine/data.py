"""Where samples come from: a source of single samples, and the loader that batches them in a reproducible order.

Every random choice about a sample comes from ``(seed, epoch, index)`` alone, so it depends neither on the number of
workers nor on where a run was interrupted.
"""

import itertools
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

ATTEMPTS = 100  # of finding another sample in place of a broken one, before giving up

Key = tuple[int, int]  # epoch, index
Bad = tuple[str, str]  # path, reason
Found = TypeVar("Found")


class BadSampleError(ValueError):
    """A sample that cannot be read. ``path`` says which, ``reason`` says why, in one line without a full stop."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # so that it crosses from a worker process
        return type(self), (self.path, self.reason)


@runtime_checkable
class Source(Protocol):
    """A finite, indexable collection of samples that stack into a batch.

    A source may also have ``order(seed, epoch)``, which returns keys (epoch, index) as an array [len 2] where a plain
    permutation does not fit: tar shards are read in runs, a mixture repeats its small sources.
    """

    def __len__(self) -> int:
        """Return the number of samples, broken ones included."""

    def read(self, index: int, rng: torch.Generator) -> Tensor:
        """Return sample ``index``; random choices draw from ``rng`` only. Raises BadSampleError."""

    def path(self, index: int) -> str:
        """Name the sample in messages, ``skipped.txt`` and result files."""

    def label(self, index: int) -> str | None:
        """Return the class of a sample where its folder or list names one."""


def readable(indices: Sequence[int], read: Callable[[int], Found]) -> Iterator[Found]:
    """Read some samples, passing over bad ones. Raises ValueError where all are bad."""
    failures = list[BadSampleError]()
    for index in indices:
        try:
            yield read(index)
        except BadSampleError as error:
            failures.append(error)
    if failures and len(failures) == len(indices):
        raise ValueError(f"none of {len(indices)} samples can be read; the first: {failures[0]}; mend or convert them")


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


def seed_of(*numbers: int) -> int:
    """Return a seed that depends on all the numbers given, and on nothing else."""
    # The count goes first, since SeedSequence takes (1, 2) and (1, 2, 0) for the same.
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0]) >> 1


def generator(*numbers: int) -> torch.Generator:
    """Return a generator that depends on all the numbers given, and on nothing else."""
    return torch.Generator().manual_seed(seed_of(*numbers))


def epoch_order(source: Sized, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits a source, as keys [n 2]: the source's own, or a plain permutation."""
    own = getattr(source, "order", None)
    if own is not None:
        keys: NDArray[np.int64] = own(seed, epoch)
        return keys
    order = torch.randperm(len(source), generator=generator(seed, epoch)).numpy()
    return np.stack([np.full_like(order, epoch), order], axis=1)


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


@dataclass
class Skips:
    """The broken samples of a run: each named once in ``file`` with its reason, counted, and limited.

    More than ``limit`` of all ``total`` samples broken stops the run: then the data is at fault, not a sample.
    """

    total: int
    limit: float = 0.05
    file: Path | None = None
    """Where they are written down; one process of a run does."""
    seen: dict[str, str] = field(default_factory=dict)

    def take_up(self, kept: Path, size: int) -> None:
        """Start from the first ``size`` bytes of an earlier part's file: later ones will be met again."""
        if kept.exists():
            text = kept.read_bytes()[:size]
            if self.file is not None:
                os.truncate(self.file, len(text))
            pairs = (line.split("\t", 1) for line in text.decode(errors="surrogateescape").splitlines() if "\t" in line)
            self.seen |= {path: reason for path, reason in pairs}

    def add(self, bad: Iterable[Bad]) -> None:
        """Write down what is new. Raises ValueError when too many are broken."""
        for path, reason in bad:
            if path not in self.seen:
                self.seen[path] = reason
                if self.file is not None:
                    with self.file.open("a", errors="surrogateescape") as file:
                        file.write(f"{path}\t{reason}\n")
        if len(self.seen) > self.limit * self.total:
            path, reason = next(reversed(self.seen.items()))
            where = f", all named in {self.file}" if self.file is not None else ""
            raise ValueError(
                f"{len(self.seen)} of {self.total} samples cannot be read, more than the limit of {self.limit:.0%} "
                f"(last: {path}: {reason}){where}; mend the data or raise --max-bad"
            )

    def bytes(self) -> int:
        """Return the length of the file."""
        return self.file.stat().st_size if self.file is not None and self.file.exists() else 0

    def __len__(self) -> int:
        """Return how many samples are broken."""
        return len(self.seen)
