"""Where samples come from: a source of single samples, and the loader that batches them in a reproducible order.

Every random choice about a sample comes from ``(seed, epoch, index)`` alone, so it depends neither on the number of
workers nor on where a run was interrupted.
"""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


class BadSampleError(ValueError):
    """A sample that cannot be read. ``path`` says which, ``reason`` says why, in one line without a full stop."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason

    def __reduce__(self) -> tuple[type, tuple[str, str]]:  # so that it crosses from a worker process
        return type(self), (self.path, self.reason)


@runtime_checkable
class Source(Protocol):
    """A finite, indexable collection of samples that stack into a batch."""

    def __len__(self) -> int: ...

    def read(self, index: int, rng: torch.Generator) -> Tensor:
        """Return sample ``index``; random choices draw from ``rng`` only. Raises BadSampleError."""

    def path(self, index: int) -> str:
        """Name the sample in messages, ``skipped.txt`` and result files."""

    def label(self, index: int) -> str | None:
        """Return the class of a sample where its folder or list names one."""
