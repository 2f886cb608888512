"""Batches of samples: one tensor, a list of samples of different sizes, or several tensors by name."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor


class Fields(Mapping[str, Tensor]):
    """A batch of named tensors ``[B ...]``, for samples of several tensors, such as an input and its label.

    It is a mapping from names to tensors. ``x`` is the input of the model. Raises ValueError for no tensors, or tensors
    of different batch sizes.

    >>> Fields(x=torch.zeros(4, 3, 8, 8), label=torch.zeros(4)).shape
    (4,)
    """

    def __init__(self, **tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("a batch of named tensors needs at least one tensor")
        sizes = {name: tensor.shape[0] for name, tensor in tensors.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(f"all tensors of a batch need the same number of samples, got {sizes}")
        self._tensors = tensors

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __reduce__(self) -> tuple[type, tuple[()], dict[str, dict[str, Tensor]]]:  # between processes
        return Fields.__new__, (Fields,), {"_tensors": self._tensors}  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[int]:
        """The batch size as a tuple of one number."""
        return (next(iter(self._tensors.values())).shape[0],)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Fields":
        """Return the tensors on a device."""
        return Fields(**{name: x.to(device, non_blocking=non_blocking) for name, x in self._tensors.items()})

    def pin_memory(self) -> "Fields":
        """Return the tensors in pinned memory, from which copies to a GPU are asynchronous."""
        return Fields(**{name: x.pin_memory() for name, x in self._tensors.items()})


# input of a model: one tensor, a list of samples of different sizes, or several tensors by name
Batch = Tensor | Sequence[Tensor] | Fields

Sample = Tensor | Mapping[str, Tensor]  # output of a source: one tensor, or several by name


def input_of(batch: Batch) -> Tensor | Sequence[Tensor]:
    """Return the input of the model: the batch itself, or the tensor ``x`` [B ...] of ``Fields``.

    Raises ValueError without ``x``.
    """
    if not isinstance(batch, Fields):
        return batch
    if "x" not in batch:
        raise ValueError(f"the batch has tensors {', '.join(batch)} and none named x; name the model's input x")
    return batch["x"]


def tensor_of(batch: Batch) -> Tensor:
    """Return the input of a batch as one tensor [B ...]. Raises ValueError for a list of samples."""
    found = input_of(batch)
    if not isinstance(found, Tensor):
        raise ValueError(f"one tensor is needed, got a list of {len(found)}; pad the samples to one size")
    return found


def batch_size(batch: Batch) -> int:
    """Return the number of samples in a batch."""
    return batch.shape[0] if isinstance(batch, Tensor | Fields) else len(batch)


def stack(samples: Sequence[Sample]) -> Tensor | Fields:
    """Stack samples into a batch: tensors ``[...]`` become ``[B ...]``, named tensors become ``Fields``.

    Raises ValueError for no samples, or samples of different shapes, types or names.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    if isinstance(samples[0], Tensor):
        return _stacked([sample for sample in samples if isinstance(sample, Tensor)], len(samples), "sample")
    named = [sample for sample in samples if isinstance(sample, Mapping)]
    names = [tuple(sample) for sample in named]
    if len(named) < len(samples) or len({frozenset(each) for each in names}) > 1:
        raise ValueError(f"samples of one batch hold different tensors: {', '.join(map(str, sorted(set(names))))}")
    return Fields(**{name: _stacked([sample[name] for sample in named], len(named), name) for name in names[0]})


def _stacked(tensors: list[Tensor], count: int, name: str) -> Tensor:
    """Stack the tensors of one name."""
    kinds = sorted({f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}" for x in tensors})
    if len(kinds) > 1 or len(tensors) < count:
        raise ValueError(
            f"tensors {name!r} of one batch have different shapes or types: {', '.join(kinds)}; crop or pad them alike"
        )
    return torch.stack(tensors)
