"""A source of single samples, and the order in which an epoch visits it."""

from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from maskkit.batches import Sample
from maskkit.data.limits import TooSlowError, time_limit
from maskkit.files import BadSampleError as BadSampleError
from maskkit.files import short_reason
from maskkit.seeds import generator

Bad = tuple[str, str]  # path, reason

Found = TypeVar("Found")


class Key(NamedTuple):
    """The key of a sample: its epoch, the index of its item, and the repeat."""

    epoch: int
    index: int  # type: ignore[assignment]  # tuples have a method of this name, which nobody needs here
    repeat: int

    @classmethod
    def of(cls, index: int) -> "Key":
        """Return the key of an item in epoch 0, for its first repeat."""
        return cls(0, index, 0)


@runtime_checkable
class Source(Protocol):
    """A finite, indexable collection of samples that stack into a batch.

    ``len(source)`` is the number of samples in an epoch, repeats included. A source with ``repeats`` R makes R samples
    of each of its ``len(source) / R`` items, such as several clips of one video. An ``index``, in a key as elsewhere,
    counts items and lies in [0, len(source) / R); ``key.repeat`` lies in [0, R).

    A source may also have ``order(seed, epoch)``, which returns the keys of an epoch as an array [len 3] (epoch, index,
    repeat). Without it an epoch is a random permutation of the items, with the repeats of an item in sequence. Tar
    shards have an order, because they are read window by window, and mixtures, which repeat small sources.
    """

    def __len__(self) -> int:
        """Return the number of samples, broken ones and repeats included."""

    @property
    def repeats(self) -> int:
        """The number of samples per item: 1 except for videos."""

    def read(self, key: Key, rng: torch.Generator) -> Sample:
        """Return a sample. Random choices are drawn from ``rng`` only. Raises BadSampleError.

        ``rng`` has the same state for all repeats of an item in an epoch, so that they share choices such as the
        decoded frames. ``key.repeat`` distinguishes them.
        """

    def path(self, index: int) -> str:
        """Return the name of an item for messages, ``skipped.txt`` and result files."""

    def label(self, index: int) -> str | None:
        """Return the class of an item, or None if it has no class."""


def read_sample(source: Source, key: Key, rng: torch.Generator) -> Sample:
    """Read a sample within ``time_limit``. Raises BadSampleError for any error of its reader but ImportError."""
    with one_bad_sample(source.path(key.index)):
        try:
            with time_limit():
                return source.read(key, rng)
        except TooSlowError as error:
            raise BadSampleError(source.path(key.index), str(error)) from None


def _unreadable(error: Exception) -> str:
    return f"cannot be read: {short_reason(error)}"


@contextmanager
def one_bad_sample(path: str, reason: Callable[[Exception], str] = _unreadable) -> Iterator[None]:
    """Convert whatever a file makes its reader raise into one BadSampleError, with a short reason.

    Errors of decoders are of any class, and a damaged file can bring each about. Missing libraries (ImportError) are no
    fault of a file.
    """
    try:
        yield
    except (BadSampleError, ImportError):
        raise
    except MemoryError:
        raise BadSampleError(path, "needs more memory than there is") from None
    except Exception as error:
        raise BadSampleError(path, reason(error)) from error


def num_items(source: Source) -> int:
    """Return the number of items of a source, with repeats counted once."""
    return len(source) // source.repeats


def keys_in_order(source: Source) -> Iterator[Key]:
    """Yield the keys of all samples in epoch 0, item by item with its repeats."""
    return (Key(0, index, repeat) for index in range(num_items(source)) for repeat in range(source.repeats))


def readable(indices: Sequence[int], read: Callable[[int], Found]) -> Iterator[Found]:
    """Yield samples without bad ones. Raises ValueError if all are bad."""
    failures = list[BadSampleError]()
    for index in indices:
        try:
            yield read(index)
        except BadSampleError as error:
            failures.append(error)
    if failures and len(failures) == len(indices):
        raise ValueError(f"none of {len(indices)} samples can be read; the first: {failures[0]}; fix or convert them")


def spread_evenly(length: int, count: int) -> list[int]:
    """Return up to ``count`` evenly spread indices below ``length``, including the first and the last."""
    assert count > 0
    picked: list[int] = np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()
    return picked


def epoch_order(source: Sized, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the keys of an epoch [n 3], in the order of a source (or of files), or in a random permutation."""
    own = getattr(source, "order", None)
    if own is not None:
        keys: NDArray[np.int64] = own(seed, epoch)
        return keys
    repeats = source.repeats if isinstance(source, Source) else 1
    return with_repeats(random_order(len(source) // repeats, seed, epoch), repeats)


def random_order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the keys of ``count`` items [n 3] in a random order that depends on seed and epoch only."""
    return keys_of(epoch, torch.randperm(count, generator=generator(seed, epoch)).numpy())


def keys_of(epoch: int, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return keys [n 3] of items [n] in an epoch, each of its first repeat."""
    return np.stack([np.full_like(order, epoch), order, np.zeros_like(order)], axis=1)


def with_repeats(keys: NDArray[np.int64], repeats: int) -> NDArray[np.int64]:
    """Return keys [n*R 3] with all R repeats of each key [n 3], one after the other."""
    repeated: NDArray[np.int64] = np.repeat(keys, repeats, axis=0)
    repeated[:, 2] = np.tile(np.arange(repeats), len(keys))
    return repeated
