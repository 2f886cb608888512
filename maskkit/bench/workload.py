"""What a modality gives to the benchmarks: its training step, its peer, its ways of reading, its published presets."""

import importlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from maskkit.modality import find_modality

if TYPE_CHECKING:  # the list of benchmarks needs no torch
    import torch
    from torch import Tensor

    from maskkit.model import MaskedModel

Run = Callable[[], object]  # does once what is timed
Read = Callable[[int], object]  # reads for a running number
Ways = Mapping[str, tuple[Read, int]]  # by name: how to read, and how many samples one call reads


class MakeStep(Protocol):
    """Builds a training step."""

    def __call__(self, dtype: "torch.dtype", device: str) -> Run:
        """Return a function that takes one training step."""


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A published preset and a batch, in plain values, so that another revision of maskkit can build them as well."""

    name: str
    """Modality and method, such as "image.mae"."""
    module: str
    function: str
    arguments: Mapping[str, object]
    shape: tuple[int, ...]
    """Of the batch, drawn from a normal distribution."""

    def build(self) -> "MaskedModel":
        """Return the model with new weights."""
        model: MaskedModel = getattr(importlib.import_module(self.module), self.function)(**self.arguments)
        return model

    def batch(self) -> "Tensor":
        """Return a random batch [B ...]."""
        import torch

        return torch.randn(self.shape)


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What the benchmarks time of one modality."""

    title: str
    ours: MakeStep
    presets: tuple[Preset, ...]
    peer: MakeStep | None = None
    peer_name: str = ""
    readers: Callable[[str | None], AbstractContextManager[Ways]] | None = None
    """Opens ways of reading the videos, say, at a path, or of files made for the comparison where no path is given."""
    reading: str = ""
    """Describes what the readers read."""


def find_workload(name: str) -> Workload:
    """Import and return what is timed of a modality. Raises ValueError if a modality has no benchmark."""
    module = find_modality(name).bench
    if module is None:
        raise ValueError(f"modality {name} has no benchmark; it sets bench=MODULE to have one")
    workload = getattr(importlib.import_module(module), "WORKLOAD", None)
    if not isinstance(workload, Workload):
        raise ValueError(f"{module} has no WORKLOAD; it must hold a maskkit.bench.workload.Workload")
    return workload
