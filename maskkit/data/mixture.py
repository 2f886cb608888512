"""Mixtures of weighted data sets: ``0.7*photos/ + 0.3*drawings/``."""

import glob
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskkit.batches import Sample
from maskkit.data.samples import first_samples
from maskkit.data.source import Key, Source, epoch_order
from maskkit.seeds import generator, seed_of

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:inf|nan)"
_PLUS = re.compile(rf"\s\+\s+(?=(?:{_NUMBER})\s*\*)")
_PART = re.compile(rf"\s*({_NUMBER})\s*\*\s*(.*\S)\s*", re.DOTALL)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A source of several weighted sources, each with its share of every epoch.

    An epoch has as many samples as all sources together. Each source has the share ``weight / sum(weights)``, rounded
    by the largest remainder, at random positions. The draws of a source continue across epochs, through its own epochs
    in their own order, so no sample occurs twice before all have occurred once. The epoch in a key is the source's own,
    so that random choices differ between repeated samples. Raises ValueError for weights that do not fit, empty
    sources, or sources with repeats.
    """

    sources: tuple[Source, ...]
    weights: tuple[float, ...]
    _starts: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.weights) or not self.sources:
            raise ValueError(f"a mixture needs one weight a source, got {len(self.weights)} for {len(self.sources)}")
        for weight in self.weights:
            if not 0 < weight < math.inf:
                raise ValueError(f"the weights of a mixture must be positive, got {weight:g}")
        lengths = [len(source) for source in self.sources]
        if any(source.repeats > 1 for source in self.sources):
            raise ValueError("a mixture takes each sample once; set repeats to 1, or train on one data set")
        if not all(lengths):
            raise ValueError(f"source {lengths.index(0) + 1} of the mixture is empty; leave it out")
        object.__setattr__(self, "_starts", np.concatenate([[0], np.cumsum(lengths)]))
        if not all(self.shares):
            weight = self.weights[self.shares.index(0)]
            raise ValueError(f"weight {weight:g} gets none of the {len(self)} samples of an epoch; raise it")

    @property
    def shares(self) -> tuple[int, ...]:
        """The number of samples of each source per epoch; their sum is ``len``."""
        weights = [Fraction(weight) for weight in self.weights]
        exact = [weight * len(self) / sum(weights) for weight in weights]
        shares = [math.floor(share) for share in exact]
        by_remainder = sorted(range(len(exact)), key=lambda i: (shares[i] - exact[i], i))
        for i in by_remainder[: len(self) - sum(shares)]:
            shares[i] += 1
        return tuple(shares)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def repeats(self) -> int:
        """The number of samples per item: 1."""
        return 1

    def read(self, key: Key, rng: torch.Generator) -> Sample:
        """Return a sample. Indices run through the sources one after the other. Raises BadSampleError."""
        source, index = self._find(key.index)
        return source.read(Key(key.epoch, index, key.repeat), rng)

    def path(self, index: int) -> str:
        """Return the name of a sample, as its source does."""
        source, position = self._find(index)
        return source.path(position)

    def label(self, index: int) -> str | None:
        """Return the class of a sample as its source does."""
        source, position = self._find(index)
        return source.label(position)

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the keys of an epoch [n 3], in an order that depends on seed and epoch only.

        The epoch in a key is the source's own.
        """
        mixed = torch.randperm(len(self), generator=generator(seed, epoch)).numpy()
        keys = np.empty((len(self), 3), dtype=np.int64)
        begin = 0
        for number, share in enumerate(self.shares):
            positions = np.sort(mixed[begin : begin + share])  # positions of this source's samples in the epoch
            keys[positions] = self._draws(number, seed, epoch * share, share)
            begin += share
        return keys

    def _draws(self, number: int, seed: int, first: int, count: int) -> NDArray[np.int64]:
        """Return the keys of draws ``first`` to ``first + count`` of a source, counted from the start of the run."""
        source = self.sources[number]
        keys = np.empty((count, 3), dtype=np.int64)
        done = 0
        while done < count:
            epoch, begin = divmod(first + done, len(source))
            # A separate seed per source; otherwise sources of equal length would have the same order.
            part = epoch_order(source, seed_of(seed, number), epoch)[begin : begin + count - done]
            keys[done : done + len(part)] = part
            done += len(part)
        return keys + np.array([0, self._starts[number], 0])

    def _find(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        return self.sources[number], index - int(self._starts[number])


def split_mixture(text: str) -> list[tuple[float, str]]:
    """Parse ``0.7*path/a + 0.3*path/b`` into weights and paths. Any other text is one path with weight 1.

    A text that exists as a path, or matches as a glob, is a path. A mixture has at least two parts, with blanks around
    each ``+`` and a weight before each path (a glob that starts with a number needs ``./`` before it). Raises
    ValueError.

    >>> split_mixture("0.7*photos/*.jpg + 0.3*drawings-{00..07}.tar")
    [(0.7, 'photos/*.jpg'), (0.3, 'drawings-{00..07}.tar')]
    >>> split_mixture("2*.jpg")
    [(1.0, '2*.jpg')]
    """
    path = os.path.expanduser(text)
    if os.path.lexists(path) or (glob.has_magic(path) and next(glob.iglob(path), None) is not None):
        return [(1.0, text)]
    parts = _PLUS.split(text)
    found = [_PART.fullmatch(part) for part in parts]
    if len(parts) == 1:
        if found[0] is not None and re.search(r"\s\+\s", text):
            raise ValueError(f"{text}: each part of a mixture needs a weight: 0.7*path/a + 0.3*path/b")
        return [(1.0, text)]
    mixture = []
    for part, match in zip(parts, found, strict=True):
        if match is None:
            raise ValueError(f"{text}: {part.strip()!r} must be a weight and a path: 0.7*path/a + 0.3*path/b")
        mixture.append((float(match[1]), match[2]))
    odd = next((weight for weight, _ in mixture if not 0 < weight < math.inf), None)
    if odd is not None:
        raise ValueError(f"{text}: the weights of a mixture must be positive, got {odd:g}")
    return mixture


def open_mixture(text: str, open_one: Callable[[str], Source]) -> Source:
    """Open a path or a mixture of paths, each by ``open_one``.

    Raises ValueError if samples of the parts do not stack into one batch.
    """
    parts = split_mixture(text)
    sources = [open_one(path) for _, path in parts]
    if len(parts) == 1:
        return sources[0]
    _check_alike(sources, [path for _, path in parts])
    return Mixture(tuple(sources), tuple(weight for weight, _ in parts))


def _check_alike(sources: Sequence[Source], paths: Sequence[str]) -> None:
    """Compare a sample of each source, so that sources that do not stack are found before training."""
    first = ""
    for source, path in zip(sources, paths, strict=True):
        samples = first_samples(source, 1)
        if not samples:  # the run reports it
            continue
        kind = _kind(samples[0])
        if not first:
            first, named = kind, path
        elif kind != first:
            raise ValueError(
                f"samples of {named} are {first}, those of {path} {kind}; a mixture needs samples of one shape and type"
            )


def _kind(sample: Sample) -> str:
    """Return the type and shape of a sample, or of each of its named tensors, as text."""
    if isinstance(sample, Tensor):
        return f"{str(sample.dtype).removeprefix('torch.')} {list(sample.shape)}"
    return ", ".join(f"{name} {_kind(tensor)}" for name, tensor in sorted(sample.items()))
