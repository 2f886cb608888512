"""Reading of samples in this process, without a loader."""

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from maskkit.batches import Sample
from maskkit.data.source import Bad, BadSampleError, Key, Source, keys_in_order, num_items, read_sample
from maskkit.seeds import generator

TRIES = 1000  # maximum number of attempts to find readable samples


def samples_in_order(source: Source, bad: Callable[[Bad], object]) -> Iterator[tuple[int, Sample]]:
    """Yield the index and the sample of all readable samples; call ``bad`` with path and reason of the others.

    A sample is the same each time: its random choices depend on its index only.
    """
    for key in keys_in_order(source):
        try:
            sample = read_sample(source, key, generator(0, key.index))
        except BadSampleError as error:
            bad((error.path, error.reason))
        else:
            yield key.index, sample


def first_samples(source: Source, count: int) -> list[Sample]:
    """Return the first ``count`` readable samples; fewer if the first 1,000 samples contain fewer.

    Broken samples are skipped without a report; training reports them.
    """
    found = list[Sample]()
    for index in range(min(num_items(source), TRIES)):
        if len(found) == count:
            break
        try:
            found.append(read_sample(source, Key.of(index), generator(0, index)))
        except BadSampleError:
            continue
    return found


def trial_keys(source: Source, count: int) -> Iterator[Key]:
    """Yield keys for a trial of a source: ``count`` evenly spread, then up to 1,000 in a fixed random order."""
    items = num_items(source)
    spread = [number * items // min(items, count) for number in range(min(items, count))]
    # Drawn with replacement, because a permutation of a billion samples would take gigabytes.
    rng = generator(items)
    others = (int(torch.randint(items, (), generator=rng)) for _ in range(TRIES))
    every = others if items > TRIES else iter(sorted(set(range(items)) - set(spread)))
    return (Key.of(index) for index in itertools.chain(spread, every))


class Opens(Protocol):
    """Data settings of a modality."""

    def open(self, tokenizer: Any, *, train: bool) -> Source:
        """Return a source of samples for a tokenizer of the modality."""


class HasTokenizer(Protocol):
    """A model with a tokenizer."""

    @property
    def tokenizer(self) -> object:
        """The tokenizer of the model."""


@dataclass(frozen=True)
class EvaluationSamples:
    """Reads samples for evaluation one by one, in order: ``samples = EvaluationSamples(Data)`` in a modality.

    ``data`` is the class of the modality's data settings.
    """

    data: Callable[..., Opens]

    def __call__(
        self, where: str | Path, model: HasTokenizer, errors: list[Bad] | None = None, **data: object
    ) -> Iterator[tuple[str, Sample]]:
        """Yield the path and the sample of all readable samples at ``where``, for a batch of the model.

        Bad samples are skipped and appended to ``errors`` as (path, reason). ``data`` holds data settings by name.
        Raises ValueError if there are no samples.
        """
        source = self.data(root=os.fspath(where), **data).open(model.tokenizer, train=False)
        bad = errors if errors is not None else []
        return ((source.path(index), sample) for index, sample in samples_in_order(source, bad.append))
