"""Reading of a source once and in order by worker processes, for evaluation: no sample is replaced."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from maskkit.batches import Fields, Sample, stack
from maskkit.data.source import Bad, BadSampleError, Key, Source, num_items, read_sample
from maskkit.data.workers import Reading, watched
from maskkit.seeds import generator

Read = tuple[int, Sample | None, Bad | None]  # index, and a sample or the reason why it cannot be read


@dataclass(frozen=True)
class InOrder:
    """A batch of consecutive samples: the readable samples, their indices, and the unreadable ones."""

    samples: Tensor | Fields | None
    indices: list[int]
    bad: list[Bad]
    failure: str = ""
    """An error that stops reading. Workers send it as text, because torch would add its traceback."""


@dataclass(frozen=True)
class _Numbered(Dataset[Read]):
    """Reads a sample by its index, with random numbers that depend on the index."""

    source: Source
    reading: Reading

    def __len__(self) -> int:
        return num_items(self.source)

    def __getitem__(self, index: int) -> Read:
        try:
            with self.reading.item(index):
                return index, read_sample(self.source, Key.of(index), generator(0, index)), None
        except BadSampleError as error:
            return index, None, (error.path, error.reason)


def read_in_order(source: Source, *, batch: int, workers: int = 0) -> Iterator[InOrder]:
    """Yield all samples of a source in order, ``batch`` at a time, without unreadable ones.

    A batch is smaller if it has unreadable samples. Raises ValueError if samples do not stack, and
    LoaderDiedError if a loader process dies.
    """
    workers = min(workers, -(-num_items(source) // batch))
    reading = Reading(workers)
    numbered = _Numbered(source, reading)
    loader: DataLoader[InOrder] = DataLoader(
        numbered,  # type: ignore[arg-type]  # collate makes batches of another type than the samples
        batch_size=batch,
        shuffle=False,
        num_workers=workers,
        collate_fn=_collate,
        # As in maskkit.data.loader: children of this process end when it is killed.
        multiprocessing_context="fork" if workers and len(source) and sys.platform == "linux" else None,
        generator=generator(0),  # otherwise starting the workers would draw from torch's global generator
    )
    for found in watched(loader, source, reading):
        if found.failure:
            raise ValueError(found.failure)
        yield found


def _collate(read: list[Read]) -> InOrder:
    samples = [sample for _, sample, _ in read if sample is not None]
    indices = [index for index, sample, _ in read if sample is not None]
    bad = [reason for _, _, reason in read if reason is not None]
    try:
        return InOrder(stack(samples) if samples else None, indices, bad)
    except ValueError as error:
        return InOrder(None, indices, bad, failure=str(error))
