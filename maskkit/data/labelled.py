"""Samples with their classes."""

from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskkit.data.paths import sorted_classes
from maskkit.data.source import Key, Source, epoch_order, num_items


@dataclass(frozen=True, eq=False)
class Labelled:
    """A source whose samples carry their class: ``{"x": sample, "label": int64 scalar}``.

    A label is the index of its class in ``classes``, or -1 for a sample without a class. Classes are sorted by number
    if all are whole numbers, otherwise by name. Named tensors of the source are kept. All labels are looked up once, at
    construction. Raises ValueError for a source without classes.
    """

    source: Source
    classes: tuple[str, ...] = field(init=False)
    _numbers: NDArray[np.int64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = [self.source.label(index) for index in range(num_items(self.source))]
        classes = sorted_classes({name for name in names if name is not None})
        if not classes:
            where = f" ({self.source.path(0)} and {len(names) - 1} others)" if names else ""
            raise ValueError(
                f"none of the samples{where} has a class; put each class into a sub-folder, or give a list with labels"
            )
        number = {name: position for position, name in enumerate(classes)}
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "_numbers", np.array([-1 if name is None else number[name] for name in names]))

    def __len__(self) -> int:
        return len(self.source)

    @property
    def repeats(self) -> int:
        """The number of samples per item of the source."""
        return self.source.repeats

    def read(self, key: Key, rng: torch.Generator) -> dict[str, Tensor]:
        """Return a sample as ``x``, or its named tensors, and its class as ``label``. Raises BadSampleError."""
        sample = self.source.read(key, rng)
        named = {"x": sample} if isinstance(sample, Tensor) else dict(sample)
        return {**named, "label": torch.tensor(int(self._numbers[key.index]))}

    def path(self, index: int) -> str:
        """Return the name of a sample, as the source does."""
        return self.source.path(index)

    def label(self, index: int) -> str | None:
        """Return the name of a class as the source does."""
        return self.source.label(index)

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the keys of an epoch [n 3] in the order of the source."""
        return epoch_order(self.source, seed, epoch)
