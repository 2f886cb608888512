"""Statistics of a data set from a few of its samples, for default settings and normalisation.

C channels, n numbers of a channel.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.data.mixture import split_mixture
from maskkit.data.source import readable

F = TypeVar("F")


class Spread(Protocol):
    """A collection with evenly spread indices."""

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` evenly spread indices."""


def look(source: Spread, limit: int, read: Callable[[int], F]) -> list[F]:
    """Read up to ``limit`` evenly spread samples, without bad ones. Raises ValueError if all are bad."""
    return list(readable(source.spread(limit), read))


def look_at_parts(where: str | Path, look_at: Callable[[str], F]) -> tuple[F, list[F]]:
    """Survey each part of a mixture. Returns the result of the part with the largest weight, and all results.

    A path that is no mixture is its only part. Of equal weights the first one is taken.
    """
    parts = split_mixture(os.fspath(where))
    found = [look_at(path) for _, path in parts]
    return found[max(range(len(parts)), key=lambda number: parts[number][0])], found


class Moments:
    """Mean and variance of each channel over batches of numbers, in float64.

    Batches are merged as Chan, Golub and LeVeque (1979, "Updating formulae and a pairwise algorithm for computing
    sample variances") do, because a sum of squares is inaccurate if the mean is large.
    """

    def __init__(self, channels: int) -> None:
        self.count = 0
        self.mean = torch.zeros(channels, dtype=torch.float64)
        self._squares = torch.zeros(channels, dtype=torch.float64)

    def add(self, values: Float[Tensor, "C n"]) -> None:
        """Add n numbers of each channel."""
        values, more = values.double(), values.shape[1]
        shift, share = values.mean(1) - self.mean, more / (self.count + more)
        self._squares += values.var(1, correction=0) * more + shift**2 * self.count * share
        self.mean += shift * share
        self.count += more

    @property
    def variance(self) -> Float[Tensor, "C"]:
        """The variance of each channel: the mean squared distance from the mean."""
        return self._squares / self.count


def measure_parts(
    where: str | Path, channels: int, read: Callable[[str], Iterable[Float[Tensor, "C n"]]]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel over the batches that ``read`` yields for parts of a mixture.

    Each part counts by its weight, regardless of the number of samples. A constant channel has deviation 1, so that
    normalised values are 0 and not NaN.
    """
    parts = split_mixture(os.fspath(where))
    weights = torch.tensor([weight for weight, _ in parts], dtype=torch.float64)
    measured = [_moments(channels, read(path)) for _, path in parts]
    mean, variance = mixed([each.mean for each in measured], [each.variance for each in measured], weights)
    std = variance.sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 0, std, 1.0).tolist())


def mixed(
    means: Sequence[Float[Tensor, "C"]], variances: Sequence[Float[Tensor, "C"]], weights: Float[Tensor, "parts"]
) -> tuple[Float[Tensor, "C"], Float[Tensor, "C"]]:
    """Return mean and variance of a mixture from those of its parts."""
    shares = (weights / weights.sum())[:, None]
    mean = (shares * torch.stack(list(means))).sum(0)
    return mean, (shares * (torch.stack(list(variances)) + (torch.stack(list(means)) - mean) ** 2)).sum(0)


def _moments(channels: int, batches: Iterable[Tensor]) -> Moments:
    moments = Moments(channels)
    for values in batches:
        moments.add(values)
    return moments
