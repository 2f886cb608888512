"""Samples read by this process itself, without a loader: one by one, in order, broken ones left out."""

import itertools
from collections.abc import Callable, Iterator

import torch

from maskkit.data.source import Bad, BadSampleError, Key, Source, keys_in_order, num_items
from maskkit.seeds import generator
from maskkit.types import Sample

TRIES = 1000  # samples looked at for one that can be read, before the data counts as broken


def samples_in_order(source: Source, bad: Callable[[Bad], object]) -> Iterator[tuple[int, Sample]]:
    """Give the index and the sample of all that can be read; call ``bad`` with path and reason of each other one.

    A sample is the same each time: its random choices depend on its index alone.
    """
    for key in keys_in_order(source):
        try:
            sample = source.read(key, generator(0, key.index))
        except BadSampleError as error:
            bad((error.path, error.reason))
        else:
            yield key.index, sample


def first_samples(source: Source, count: int) -> list[Sample]:
    """Return the first ``count`` samples that can be read; fewer where the first 1,000 samples hold no more.

    Broken ones are passed over in silence: a run names them where it trains on them.
    """
    found = list[Sample]()
    for index in range(min(num_items(source), TRIES)):
        if len(found) == count:
            break
        try:
            found.append(source.read(Key.of(index), generator(0, index)))
        except BadSampleError:
            continue
    return found


def trial_keys(source: Source, count: int) -> Iterator[Key]:
    """Give keys to try out a source by: ``count`` evenly spread, then up to 1,000 more in a fixed random order."""
    items = num_items(source)
    spread = [number * items // min(items, count) for number in range(min(items, count))]
    # A draw with replacement, since a permutation of a billion samples would take gigabytes.
    rng = generator(items)
    others = (int(torch.randint(items, (), generator=rng)) for _ in range(TRIES))
    every = others if items > TRIES else iter(sorted(set(range(items)) - set(spread)))
    return (Key.of(index) for index in itertools.chain(spread, every))
