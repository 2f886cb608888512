"""A cache for tensors that depend on hashable arguments only: grid coordinates, window distances, filter banks."""

import functools
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch
from torch._guards import detect_fake_mode

P = ParamSpec("P")
T = TypeVar("T")


class cached(Generic[P, T]):  # noqa: N801  # a decorator
    """Cache the return values of a function for its last 64 arguments, which must be hashable.

    The function runs outside of inference mode, so that training can use the result too. While a graph is traced with
    fake tensors (``torch.export``) the cache is neither read nor written: a cached fake tensor would break later
    models.
    """

    def __init__(self, make: Callable[P, T]) -> None:
        self._make = make
        self._kept = functools.lru_cache(maxsize=64)(torch.inference_mode(mode=False)(make))
        functools.update_wrapper(self, make)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the cached or newly computed value."""
        return self._make(*args, **kwargs) if tracing() else self._kept(*args, **kwargs)  # type: ignore[arg-type]

    def cache_clear(self) -> None:
        """Empty the cache."""
        self._kept.cache_clear()


def tracing() -> bool:
    """Return whether tensors are fake (``torch.export``), so that no code may cache them or branch on their values."""
    return detect_fake_mode() is not None
