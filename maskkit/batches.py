"""Batches of samples: one tensor, a list of samples of any size, or several tensors by name."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor


class Fields(Mapping[str, Tensor]):
    """A batch of named tensors ``[B ...]``, for samples of more than one tensor: an input and its label, two views.

    It is read as a dict. ``x`` is the name of the input, which tokenizers of one tensor cut.

    >>> Fields(x=torch.zeros(4, 3, 8, 8), label=torch.zeros(4)).shape
    (4,)
    """

    def __init__(self, **tensors: Tensor) -> None:
        if not tensors:
            raise ValueError("a batch of named tensors needs at least one tensor")
        sizes = {name: len(tensor) for name, tensor in tensors.items()}
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
        """The batch size, as a tensor has it."""
        return (len(next(iter(self._tensors.values()))),)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> "Fields":
        """Return the same tensors on a device."""
        return Fields(**{name: x.to(device, non_blocking=non_blocking) for name, x in self._tensors.items()})

    def pin_memory(self) -> "Fields":
        """Return the same tensors in pinned memory, from where copies to a GPU need not wait."""
        return Fields(**{name: x.pin_memory() for name, x in self._tensors.items()})


Batch = Tensor | Sequence[Tensor] | Fields  # what a model takes: one tensor, a list of samples of any size, or several

Sample = Tensor | Mapping[str, Tensor]  # what a source gives: one tensor, or several by name


def input_of(batch: Batch) -> Tensor | Sequence[Tensor]:
    """Return what a tokenizer of one tensor cuts: the batch, or the tensor ``x`` of several."""
    if not isinstance(batch, Fields):
        return batch
    if "x" not in batch:
        raise ValueError(f"the batch has tensors {', '.join(batch)} and none named x; name the model's input x")
    return batch["x"]


def tensor_of(batch: Batch) -> Tensor:
    """Return the input of a batch that must be one tensor, as for a figure. Raises ValueError for a list."""
    found = input_of(batch)
    if not isinstance(found, Tensor):
        raise ValueError(f"one tensor is needed, got a list of {len(found)}; pad the samples to one size")
    return found


def batch_size(batch: Batch) -> int:
    """Return the number of samples."""
    return batch.shape[0] if isinstance(batch, Tensor | Fields) else len(batch)


def stack(samples: Sequence[Sample]) -> Tensor | Fields:
    """Make a batch of samples: tensors ``[...]`` become ``[B ...]``, named tensors become ``Fields``.

    Raises ValueError if samples do not stack: no samples, other shapes or types, other names.
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
