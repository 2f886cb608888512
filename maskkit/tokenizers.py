"""Tokenizers cut a batch into tokens and paint tokens back into a batch. They have no weights.

The order of a patch's contents, (rows, columns, channels), is that of MAE (``models_mae.py``, patchify) and, with time
first, that of VideoMAE. Their checkpoints depend on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkit.batches import Batch, input_of
from maskkit.cached import cached, tracing
from maskkit.parts import part
from maskkit.types import Tokens, put


@runtime_checkable
class Tokenizer(Protocol):
    """Cuts a batch into tokens and paints contents of tokens back into a batch."""

    @property
    def width(self) -> int:
        """The width D of ``Tokens.x``: the number of values in a token."""

    def __call__(self, batch: Batch) -> Tokens:
        """Return the tokens of a batch. Raises ValueError for a batch that does not fit."""

    def paint(self, tokens: Tokens, index: Int[Tensor, "B K"], value: Float[Tensor, "B K D"]) -> Batch:
        """Return the batch of ``tokens`` with the contents of the tokens ``index`` replaced by ``value``."""

    def to_input(self, painted: Batch, batch: Batch) -> Batch:
        """Convert the result of ``paint`` into the units of ``batch`` (pixels from 0 to 255 for a uint8 batch)."""


class FrontEnd(Protocol):
    """A part of a modality that says how its readers compute the grid, such as by which filter banks."""


@part
@dataclass(frozen=True, kw_only=True)
class Patches:
    """Cut a dense grid ``[B C *size]`` with any number of axes into non-overlapping patches.

    ``size`` is the size of a patch along each axis (pixels, frames) and determines the number of axes. Float batches
    are not normalised; uint8 batches become ``(x / 255 - mean) / std`` per channel. ``names`` are the names of the axes
    in messages. ``input_size`` is the nominal size, which readers deliver and checkpoints with a position table assume;
    any other size that is divisible by the patch works as well. ``front_end`` is only stored here, with the model.

    With ``fill``, samples may differ in size. NaN in a float batch then stands for missing values: a patch of NaN only
    is padding (``Tokens.valid`` is False), and in other patches NaN is replaced by ``fill``, in normalised units. A
    list of samples ``[C *size]`` of different sizes is padded with NaN to whole patches of the largest. Raises
    ValueError for settings or batches that do not fit.
    """

    size: tuple[int, ...]
    channels: int = 3
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    names: tuple[str, ...] = ()
    input_size: tuple[int, ...] | None = None
    fill: float | None = None
    front_end: FrontEnd | None = None

    def __post_init__(self) -> None:
        """Validate the settings."""
        if not self.size or min(self.size) < 1:
            raise ValueError(f"patch size must be positive along each axis, got {self.size}")
        if self.channels < 1:
            raise ValueError(f"channels must be at least 1, got {self.channels}")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if len(value) not in (1, self.channels):
                raise ValueError(f"{name} must hold 1 or {self.channels} numbers (one a channel), got {len(value)}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be positive, got {self.std}")
        if self.input_size is not None:
            self.grid(self.input_size)

    @property
    def width(self) -> int:
        """The number of values in a patch, including channels."""
        return math.prod(self.size) * self.channels

    def grid(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Return the number of patches along each axis of an input. Raises ValueError unless the patch divides it."""
        if len(size) != len(self.size):
            raise ValueError(f"batch must be [B C + {len(self.size)} axes] for patches {self.size}, got axes {size}")
        for axis, (length, step) in enumerate(zip(size, self.size, strict=True)):
            if length % step or length < step:
                name = self.names[axis] if self.names else f"axis {axis}"
                fitting = [d for d in range(max(1, step // 2), 2 * step + 1) if length % d == 0]
                hint = f"crop it to {length // step * step}" if length >= step else f"enlarge it to {step}"
                if fitting:
                    hint += f" or choose patch {min(fitting, key=lambda d: abs(d - step))}"
                raise ValueError(
                    f"input {'x'.join(map(str, size))} is not divisible by patch {'x'.join(map(str, self.size))}: "
                    f"{name} is {length}; {hint}"
                )
        return tuple(length // step for length, step in zip(size, self.size, strict=True))

    def __call__(self, batch: Batch) -> Tokens:
        """Cut ``[B C *size]`` into tokens ``[B N prod(size)*C]`` in the order of the grid, last axis fastest."""
        batch = input_of(batch)
        if not isinstance(batch, Tensor):
            batch = self.pad_to_batch(batch)
        if batch.ndim < 2 or batch.shape[1] != self.channels:
            raise ValueError(f"batch must have {self.channels} channels as its second axis, got {list(batch.shape)}")
        grid = self.grid(tuple(batch.shape[2:]))
        cut, sizes = self._pattern()
        # uint8 is cut before it is normalised, which moves a quarter of the bytes.
        x = rearrange(batch, f"b {cut[0]} -> b {cut[1]}", **sizes)
        if x.dtype == torch.uint8:
            mean, std = self._statistics(x.device)
            x = (x.float() / 255 - mean) / std
        elif not x.is_floating_point():
            raise ValueError(f"batch must be float or uint8, got {x.dtype}")
        valid = None
        if self.fill is not None:
            x, valid = self._without_nan(x, self.fill)
        return Tokens(x=x, pos=grid_coordinates(grid, x.device), valid=valid, grid=grid)

    @staticmethod
    def _without_nan(
        x: Float[Tensor, "B N D"], fill: float
    ) -> tuple[Float[Tensor, "B N D"], Bool[Tensor, "B N"] | None]:
        """Replace NaN, and return which tokens are valid; None if all are, so that attention needs no mask."""
        missing = x.isnan()
        if tracing():  # a graph cannot branch on data
            return x.masked_fill(missing, fill), ~missing.all(dim=-1)
        if not bool(missing.any()):
            return x, None
        present = ~missing.all(dim=-1)
        return x.masked_fill(missing, fill), None if bool(present.all()) else present

    def pad_to_batch(self, samples: Sequence[Tensor]) -> Tensor:
        """Pad float samples ``[C *size]`` with NaN to one batch of whole patches.

        Raises ValueError without ``fill``.
        """
        if self.fill is None:
            raise ValueError("this tokenizer takes one tensor; samples of different sizes in a list need its fill")
        wrong = [list(sample.shape) for sample in samples if sample.ndim != 1 + len(self.size)]
        if wrong or not samples or not all(sample.is_floating_point() for sample in samples):
            raise ValueError(
                f"a list must hold float samples [C + {len(self.size)} axes], got {wrong[0] if wrong else 'others'}"
            )
        largest = [max(sample.shape[1 + axis] for sample in samples) for axis in range(len(self.size))]
        whole = [-(-length // step) * step for length, step in zip(largest, self.size, strict=True)]
        padded = samples[0].new_full((len(samples), samples[0].shape[0], *whole), math.nan)
        for row, sample in zip(padded, samples, strict=True):
            row[(slice(None), *map(slice, sample.shape[1:]))] = sample
        return padded

    def paint(self, tokens: Tokens, index: Int[Tensor, "B K"], value: Float[Tensor, "B K D"]) -> Tensor:
        """Return ``[B C *size]`` in normalised units."""
        assert tokens.grid is not None
        cut, sizes = self._pattern()
        grid = {f"g{axis}": length for axis, length in enumerate(tokens.grid)}
        return rearrange(put(tokens.x, index, value), f"b {cut[1]} -> b {cut[0]}", **sizes, **grid)

    def to_input(self, painted: Batch, batch: Batch) -> Tensor | list[Tensor]:
        """Undo the normalisation if ``batch`` is uint8, rounded and clamped to [0, 255].

        Missing values become NaN again.
        """
        batch = input_of(batch)
        assert isinstance(painted, Tensor)
        if not isinstance(batch, Tensor):
            return [
                row[(slice(None), *map(slice, sample.shape[1:]))].to(sample.dtype)
                for row, sample in zip(painted, batch, strict=True)
            ]
        if batch.dtype != torch.uint8:
            painted = painted.to(batch.dtype)
            return painted if self.fill is None else painted.masked_fill(batch.isnan(), math.nan)
        mean, std = (s.view(-1, *[1] * len(self.size)) for s in self._statistics(painted.device, repeat=1))
        return ((painted * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)

    def _pattern(self) -> tuple[tuple[str, str], dict[str, int]]:
        """Return both sides of the einops pattern, ``c (g0 p0) ...`` and ``(g0 ...) (p0 ...

        c)``, and the patch sizes.
        """
        axes = range(len(self.size))
        whole = "c " + " ".join(f"(g{a} p{a})" for a in axes)
        grid, patch = " ".join(f"g{a}" for a in axes), " ".join(f"p{a}" for a in axes)
        sizes = {f"p{a}": self.size[a] for a in axes}
        return (whole, f"({grid}) ({patch} c)"), {**sizes, "c": self.channels}

    def _statistics(self, device: torch.device, repeat: int | None = None) -> tuple[Tensor, Tensor]:
        """Return mean and std, repeated in the order of a token's contents (channel fastest)."""
        repeat = math.prod(self.size) if repeat is None else repeat
        return tuple(  # type: ignore[return-value]  # a generator of exactly two
            torch.tensor(values, dtype=torch.float32, device=device).expand(self.channels).repeat(repeat)
            for values in (self.mean, self.std)
        )


@cached
def grid_coordinates(grid: tuple[int, ...], device: torch.device) -> Float[Tensor, "1 N A"]:
    """Return the coordinates of all cells of a grid, in units of cells, last axis fastest.

    The same tensor is returned for the same grid, so that position tables can be cached by its identity.

    >>> grid_coordinates((2, 2), torch.device("cpu")).tolist()
    [[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]]
    """
    axes = [torch.arange(length, dtype=torch.float32, device=device) for length in grid]
    return torch.stack([axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")], dim=-1)[None]
