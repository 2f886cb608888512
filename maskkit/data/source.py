"""A source of single samples, and the order in which an epoch visits it."""

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskkit.files import BadSampleError as BadSampleError
from maskkit.seeds import generator

Key = tuple[int, int]  # epoch, index

Bad = tuple[str, str]  # path, reason

Found = TypeVar("Found")


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


def epoch_order(source: Sized, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order in which an epoch visits a source, as keys [n 2]: the source's own, or a plain permutation."""
    own = getattr(source, "order", None)
    if own is not None:
        keys: NDArray[np.int64] = own(seed, epoch)
        return keys
    order = torch.randperm(len(source), generator=generator(seed, epoch)).numpy()
    return np.stack([np.full_like(order, epoch), order], axis=1)
