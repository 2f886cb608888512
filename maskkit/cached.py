"""Tensors that are computed once and shared: coordinates of grids, distances within windows, filter banks."""

import functools
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

import torch
from torch._guards import detect_fake_mode

P = ParamSpec("P")
T = TypeVar("T")


class cached(Generic[P, T]):  # noqa: N801  # a decorator
    """Keep what a function returns for its last 64 arguments, which must be hashable.

    Inference mode is left while it computes, since the result is to serve training too. While a graph is traced with
    fake tensors (``torch.export``) nothing is kept and nothing kept is used: a fake tensor would spoil later models.
    """

    def __init__(self, make: Callable[P, T]) -> None:
        self._make = make
        self._kept = functools.lru_cache(maxsize=64)(torch.inference_mode(mode=False)(make))
        functools.update_wrapper(self, make)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the value, kept or computed."""
        return self._make(*args, **kwargs) if tracing() else self._kept(*args, **kwargs)  # type: ignore[arg-type]

    def cache_clear(self) -> None:
        """Forget what was kept."""
        self._kept.cache_clear()


def tracing() -> bool:
    """Return whether tensors are fake here, so that a value of theirs must neither be kept nor branched on."""
    return detect_fake_mode() is not None
