"""Samples read by this process itself, without a loader: one by one, in order, broken ones left out."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from maskkit.batches import Sample
from maskkit.data.source import Bad, BadSampleError, Key, Source, keys_in_order, num_items
from maskkit.seeds import generator

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


class Opens(Protocol):
    """Data settings of a modality."""

    def open(self, tokenizer: Any, *, train: bool) -> Source:
        """Return a source of samples that fit a tokenizer of the modality."""


class HasTokenizer(Protocol):
    """A model, as far as its data is concerned."""

    @property
    def tokenizer(self) -> object:
        """What cuts its batches into tokens."""


@dataclass(frozen=True)
class EvaluationSamples:
    """Read what evaluation reads, one by one, in order: ``samples = EvaluationSamples(Data)`` in a modality.

    ``data`` makes the data settings of the modality from ``root`` and other settings.
    """

    data: Callable[..., Opens]

    def __call__(
        self, where: str | Path, model: HasTokenizer, errors: list[Bad] | None = None, **data: object
    ) -> Iterator[tuple[str, Sample]]:
        """Give the path and the sample of all that can be read at ``where``, as a batch of the model needs it.

        Bad samples are left out and appended to ``errors`` as (path, reason). ``data`` are data settings, by name.
        Raises ValueError if there are no samples.
        """
        source = self.data(root=os.fspath(where), **data).open(model.tokenizer, train=False)
        bad = errors if errors is not None else []
        return ((source.path(index), sample) for index, sample in samples_in_order(source, bad.append))
