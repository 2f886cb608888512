"""The nouns every part speaks: tokens, mask, latent, output.

Shapes: B batch, N tokens, V visible, H hidden, D width, A axes of a place, R prefix tokens, T width of a target.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a tokenizer cuts a batch into.

    ``x`` holds the contents (patch pixels, points of a group), ``pos`` the places in A real coordinates counted in
    tokens (row, column; time, row, column; x, y, z), shared by the batch where its first axis is 1. ``valid`` is False
    where a token only pads a shorter sample. ``grid`` is the number of tokens along each axis when they fill one, last
    axis fastest.
    """

    x: Float[Tensor, "B N D"]
    pos: Float[Tensor, "B|1 N A"]
    valid: Bool[Tensor, "B N"] | None = None
    grid: tuple[int, ...] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Batch size and number of tokens."""
        return self.x.shape[0], self.x.shape[1]

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # dataclasses.replace is typed per field


@dataclass(frozen=True, slots=True)
class Mask:
    """Which tokens are seen and which are predicted: ``visible`` and ``hidden`` are disjoint in every row.

    A token may be in neither. ``blocks`` says how many equal target blocks ``hidden`` is made of (I-JEPA).
    """

    visible: Int[Tensor, "B V"]
    hidden: Int[Tensor, "B H"]
    blocks: int = 1

    @classmethod
    def hide(cls, hidden: Int[Tensor, "B H"], num_tokens: int) -> Self:
        """Hide the tokens named and show all others.

        >>> Mask.hide(torch.tensor([[2, 0]]), num_tokens=4).visible.tolist()
        [[1, 3]]
        """
        if hidden.ndim != 2 or not hidden.numel() or not 0 <= int(hidden.min()) <= int(hidden.max()) < num_tokens:
            span = f", from {int(hidden.min())} to {int(hidden.max())}" if hidden.numel() else ""
            raise ValueError(f"hidden must be [B H] of indices in [0, {num_tokens}), got {list(hidden.shape)}{span}")
        batch, num_hidden = hidden.shape
        is_hidden = torch.zeros(batch, num_tokens, dtype=torch.bool, device=hidden.device).scatter_(1, hidden, True)
        visible = is_hidden.int().argsort(dim=1, stable=True)[:, : num_tokens - num_hidden]
        return cls(visible=visible, hidden=hidden)

    def to(self, device: torch.device | str) -> Self:
        """Return the same mask on a device."""
        return replace(self, visible=self.visible.to(device), hidden=self.hidden.to(device))

    def check(self, tokens: Tokens) -> None:
        """Raise ValueError unless this mask fits the tokens. It waits for the device; only masks from outside pay."""
        batch, num_tokens = tokens.shape
        for name, index in (("visible", self.visible), ("hidden", self.hidden)):
            if index.ndim != 2 or index.shape[0] != batch:
                raise ValueError(f"mask.{name} must be [{batch} K] for this batch, got {list(index.shape)}")
            if index.shape[1] == 0:
                raise ValueError(f"mask.{name} names no token; leave at least one visible and one hidden")
            if index.dtype not in (torch.int64, torch.int32):
                raise ValueError(f"mask.{name} must hold integer indices, got {index.dtype}; a boolean mask is no Mask")
            if int(index.min()) < 0 or int(index.max()) >= num_tokens:
                raise ValueError(
                    f"mask.{name} must lie in [0, {num_tokens}), got [{int(index.min())}, {int(index.max())}]"
                )
        count = torch.zeros(batch, num_tokens, dtype=torch.int32, device=self.visible.device)
        for index in (self.visible, self.hidden):
            count.scatter_add_(1, index.long(), torch.ones_like(index, dtype=torch.int32))
        if int(count.max()) > 1:
            row, token = divmod(int(count.argmax()), num_tokens)
            raise ValueError(
                f"mask names token {token} of sample {row} more than once; visible and hidden are disjoint"
            )


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


Sample = Tensor | Mapping[str, Tensor]  # what a source gives: one tensor, or several by name


def stack(samples: Sequence[Sample]) -> Tensor | Fields:
    """Make a batch of samples: tensors ``[...]`` become ``[B ...]``, named tensors become ``Fields``.

    Raises ValueError where samples do not stack: no samples, other shapes or types, other names.
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


@dataclass(frozen=True, slots=True)
class Latent:
    """What an encoder returns. ``tokens`` follow the order of ``index``; ``prefix`` are class and register tokens."""

    tokens: Float[Tensor, "B V D"]
    prefix: Float[Tensor, "B R D"]
    valid: Bool[Tensor, "B V"] | None = None

    @property
    def pooled(self) -> Float[Tensor, "B D"]:
        """One vector a sample: the mean of its tokens, padding and prefix left out.

        MAE fine-tunes and VideoMAE probes on this mean ("global_pool"); for MAE's class token take ``prefix[:, 0]``.
        """
        if self.valid is None:
            return self.tokens.mean(dim=1)
        weight = self.valid.to(self.tokens.dtype)[..., None]
        return (self.tokens * weight).sum(dim=1) / weight.sum(dim=1)


@dataclass(frozen=True, slots=True)
class Output:
    """What a masked model returns for a batch."""

    loss: Float[Tensor, ""]
    losses: Float[Tensor, "B H"]
    prediction: Float[Tensor, "B H T"]
    value: Float[Tensor, "B H T"]
    mask: Mask
    tokens: Tokens
    latent: Latent


def take(x_BND: Float[Tensor, "B|1 N D"], index_BK: Int[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
    """Pick tokens: ``out[b, k] = x[b, index[b, k]]``; a batch axis of 1 is shared by all samples.

    >>> take(torch.tensor([[[1.], [2.], [3.]]]), torch.tensor([[2, 0]])).flatten().tolist()
    [3.0, 1.0]
    """
    x_BND = x_BND.expand(index_BK.shape[0], -1, -1)
    return x_BND.gather(1, index_BK[..., None].expand(-1, -1, x_BND.shape[-1]))


def put(x_BND: Float[Tensor, "B N D"], index_BK: Int[Tensor, "B K"], value_BKD: Tensor) -> Float[Tensor, "B N D"]:
    """Return a copy of ``x`` with ``out[b, index[b, k]] = value[b, k]``; the inverse of ``take``.

    >>> put(torch.zeros(1, 3, 1), torch.tensor([[2]]), torch.ones(1, 1, 1)).flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    index = index_BK[..., None].expand(-1, -1, x_BND.shape[-1])
    return x_BND.scatter(1, index, value_BKD.to(x_BND.dtype))
