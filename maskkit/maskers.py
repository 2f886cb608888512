"""Maskers decide which tokens are seen and which are predicted: ``(tokens, rng) -> Mask``, or several masks.

Shapes: B samples, N tokens, A axes of a grid.

Most maskers only score tokens; the lowest scores stay visible, and ``mask_from_scores`` does the rest. Papers round
the ratio on different sides (docs/official.md Q1), so every masker states its rule.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkit.parts import part
from maskkit.step import Step, call
from maskkit.types import Mask, Tokens, take

Rounding = Literal["keep", "hide"]


@runtime_checkable
class Masker(Protocol):
    """Decides: (tokens, rng) -> a mask, or several masks of a sample. The same state of ``rng`` gives the same mask.

    A masker that looks at the model or at the progress of the run writes ``*, step``. One whose counts of visible and
    hidden tokens change from call to call has an attribute ``varies = True``.
    """

    def __call__(
        self, tokens: Tokens, rng: torch.Generator | None = None, *_: Any, **__: Any
    ) -> Mask | tuple[Mask, ...]:
        """Draw from ``rng``, or from torch's global generator."""


def count_visible(num_tokens: int, ratio: float, rounding: Rounding) -> int:
    """Return how many of ``num_tokens`` stay visible when a share ``ratio`` is hidden.

    ``keep``: keep int(N (1 - ratio)), as MAE, Audio-MAE and Hiera do. ``hide``: hide int(N ratio), as VideoMAE and
    Point-MAE do. Both truncate the float64 product exactly as the authors' lines do.

    >>> count_visible(512, 0.8, "keep"), count_visible(512, 0.8, "hide")
    (102, 103)
    """
    visible = int(num_tokens * (1 - ratio)) if rounding == "keep" else num_tokens - int(ratio * num_tokens)
    if not 0 < visible < num_tokens:
        left = "visible" if visible < 1 else "hidden"
        raise ValueError(
            f"mask ratio {ratio} of {num_tokens} tokens leaves no {left} token; choose another ratio or smaller patches"
        )
    return visible


def count_both(tokens: Tokens, ratio: float, rounding: Rounding) -> tuple[int, int]:
    """Return how many tokens of each sample a mask covers, and how many of these stay visible.

    In a padded batch the shortest sample sets both. Where it is too short for the ratio, one token at least is visible
    and one hidden: a short recording among many is no reason to stop.
    """
    if tokens.valid is None:
        return tokens.shape[1], count_visible(tokens.shape[1], ratio, rounding)
    return _of_shortest(int(tokens.valid.sum(dim=1).min()), ratio, rounding)


def _of_shortest(num_tokens: int, ratio: float, rounding: Rounding) -> tuple[int, int]:
    if num_tokens < 2:
        raise ValueError(f"a mask needs two tokens, the shortest sample of the batch has {num_tokens}; leave it out")
    visible = int(num_tokens * (1 - ratio)) if rounding == "keep" else num_tokens - int(ratio * num_tokens)
    return num_tokens, min(max(visible, 1), num_tokens - 1)


def mask_from_scores(
    scores: Float[Tensor, "B N"], num_visible: int, *, num_hidden: int | None = None, valid: Bool[Tensor, "B N"] | None
) -> Mask:
    """Show the ``num_visible`` lowest scores of each sample and hide the ``num_hidden`` next (default: all others).

    Padding is never shown and never hidden, provided that each sample has enough valid tokens for both.
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.inf)
    order = scores.argsort(dim=1)
    end = scores.shape[1] if num_hidden is None else num_visible + num_hidden
    return Mask(visible=order[:, :num_visible], hidden=order[:, num_visible:end])


def check_ratio(ratio: float) -> None:
    """Raise ValueError unless a mask ratio lies in (0, 1)."""
    if not 0 < ratio < 1:
        raise ValueError(f"mask ratio must lie in (0, 1), got {ratio}")


@part
@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Hide a fixed share of tokens, evenly at random per sample. MAE (arXiv:2111.06377), section 3, "Masking".

    In a padded batch the shortest sample sets both counts, so that every sample shows and hides as many tokens; the
    rest of the longer ones is in neither set.
    """

    ratio: float = 0.75
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a token, on the device of ``rng``."""
        num_tokens, num_visible = count_both(tokens, self.ratio, self.rounding)
        scores = uniform_scores(tokens, rng)
        return mask_from_scores(scores, num_visible, num_hidden=num_tokens - num_visible, valid=tokens.valid)


@part
@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Hide whole slices of a grid: a share of its rows, of its columns, or of both. Audio-MAE (arXiv:2207.06405), 3.2.

    ``ratios`` holds the share for each axis of the grid, 0 for an axis without stripes: of a spectrogram's (time,
    frequency), ``(0.7, 0.0)`` hides moments, ``(0.0, 0.3)`` bands and ``(0.7, 0.3)`` both. A token is visible where all
    its slices are kept, so (0.7, 0.3) keeps 19 of 64 rows and 5 of 8 columns: 95 tokens, as ``random_masking_2d`` does.
    Each axis is rounded by itself. In a padded batch the shortest sample sets the counts along each axis.
    """

    ratios: tuple[float, ...] = (0.7, 0.3)
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Check the ratios."""
        for ratio in self.ratios:
            if ratio != 0:
                check_ratio(ratio)
        if not any(self.ratios):
            raise ValueError(f"ratios must hold a share for at least one axis, got {self.ratios}")

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number for every slice of a striped or padded axis, on the device of ``rng``."""
        if tokens.grid is None or len(tokens.grid) != len(self.ratios):
            raise ValueError(f"stripes along {len(self.ratios)} axes need tokens on such a grid, got {tokens.grid}")
        batch, device = tokens.shape[0], tokens.x.device
        extents = _extents(tokens)  # [B A]
        visible = torch.ones(batch, *tokens.grid, dtype=torch.bool, device=device)
        used = visible.clone()
        num_visible = num_used = 1
        for axis, (length, ratio) in enumerate(zip(tokens.grid, self.ratios, strict=True)):
            shortest = kept = length if tokens.valid is None else int(extents[:, axis].min())
            if ratio and tokens.valid is None:
                kept = count_visible(length, ratio, self.rounding)
            elif ratio:
                kept = _of_shortest(shortest, ratio, self.rounding)[1]
            num_visible, num_used = num_visible * kept, num_used * shortest
            if kept == length:
                continue
            place = torch.arange(length, device=device)
            source = device if rng is None else rng.device
            noise = torch.rand(batch, length, generator=rng, device=source).to(device)
            rank = noise.masked_fill(place >= extents[:, axis, None], torch.inf).argsort(1).argsort(1)
            shape = [batch] + [length if a == axis else 1 for a in range(len(tokens.grid))]
            visible &= (rank < kept).view(shape)
            used &= (rank < shortest).view(shape)
        kind = torch.where(used, torch.where(visible, 0.0, 1.0), 2.0).flatten(1)
        order = torch.arange(tokens.shape[1], device=device) / tokens.shape[1]  # ties would leave the order to chance
        num_hidden = num_used - num_visible
        return mask_from_scores(kind + order, num_visible, num_hidden=num_hidden, valid=tokens.valid)


def _extents(tokens: Tokens) -> Int[Tensor, "B A"]:
    """Return how far each sample reaches along each axis of the grid; padding must lie behind it."""
    assert tokens.grid is not None
    size = torch.tensor(tokens.grid, device=tokens.x.device).expand(tokens.shape[0], -1)
    if tokens.valid is None:
        return size
    inside = tokens.valid.view(-1, *tokens.grid)
    moved = [inside.movedim(1 + axis, 1) for axis in range(len(tokens.grid))]
    there = [each.reshape(*each.shape[:2], -1).any(dim=2) for each in moved]  # [B length] of each axis
    size = torch.stack([each.sum(dim=1) for each in there], dim=1)
    behind = all(bool((each.long().diff(dim=1) <= 0).all()) for each in there)
    if not behind or bool((size.prod(dim=1) != tokens.valid.sum(dim=1)).any()):
        raise ValueError("stripes need padding behind the sample along whole axes; this batch has holes")
    return size


@part
@dataclass(frozen=True, kw_only=True)
class UnitMasker:
    """Hide blocks of neighbouring tokens, laid out side by side over the grid. SimMIM (arXiv:2111.09886), section 3.2.

    ``unit`` is the number of tokens along each axis of the grid; units must fill it. The number of hidden units is
    rounded up, ``ceil(units ratio)``, as ``data_simmim.py`` has it: 30 of 49 units are 120 of 196 tokens. In a padded
    batch, where units would be cut, tokens are hidden one by one as ``Uniform`` does.
    """

    unit: tuple[int, ...]
    ratio: float = 0.6

    def __post_init__(self) -> None:
        """Check the settings."""
        check_ratio(self.ratio)
        if not self.unit or min(self.unit) < 1:
            raise ValueError(f"unit must be at least 1 token along each axis, got {self.unit}")

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a unit, on the device of ``rng``."""
        if tokens.valid is not None:
            return Uniform(ratio=self.ratio, rounding="hide")(tokens, rng)
        grid = tokens.grid
        if grid is None or len(grid) != len(self.unit) or any(g % u for g, u in zip(grid, self.unit, strict=True)):
            raise ValueError(f"units of {self.unit} tokens do not fill the grid {grid}; choose a unit that divides it")
        counts = [length // step for length, step in zip(grid, self.unit, strict=True)]
        num_units = math.prod(counts)
        num_hidden = math.ceil(num_units * self.ratio)
        if num_hidden >= num_units:
            raise ValueError(f"mask ratio {self.ratio} of {num_units} units leaves none visible; choose smaller units")
        noise = _uniform(tokens.shape[0], num_units, tokens, rng)
        hidden = noise.argsort(dim=1).argsort(dim=1) < num_hidden
        spread = hidden.view(-1, *counts)
        for axis, step in enumerate(self.unit):
            spread = spread.repeat_interleave(step, dim=1 + axis)
        order = spread.flatten(1).int().argsort(dim=1, stable=True)
        num_visible = (num_units - num_hidden) * math.prod(self.unit)
        return Mask(visible=order[:, :num_visible], hidden=order[:, num_visible:])


@part
@dataclass(frozen=True, kw_only=True)
class TubeMasker:
    """Hide the same cells in every slot of the grid's first axis. VideoMAE (arXiv:2203.12602), section 3.3.

    With time as the first axis these are tubes: what is hidden in one slot cannot be copied from another. The ratio
    is applied to the cells of one slot, as masking_generator.py does: 0.9 of 14 x 14 hides 176 and shows 20 in each of
    8 slots. The authors draw masks on the CPU, sample by sample in the data set (docs/official.md V7); here they are
    drawn where ``rng`` lives, for a whole batch at once.
    """

    ratio: float = 0.9
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a cell of a slot, on the device of ``rng``."""
        slots, cells = _slots_and_cells(tokens, "a tube mask")
        num_visible = count_visible(cells, self.ratio, self.rounding)
        order = _uniform(tokens.shape[0], cells, tokens, rng).argsort(dim=1)
        first = torch.arange(slots, device=order.device)[:, None] * cells
        visible, hidden = (part[:, None] + first for part in (order[:, :num_visible], order[:, num_visible:]))
        return Mask(visible=visible.flatten(1), hidden=hidden.flatten(1))


@part
@dataclass(frozen=True, kw_only=True)
class FrameMasker:
    """Hide whole slots of the grid's first axis. VideoMAE (arXiv:2203.12602), section 4.3, "frame masking"."""

    ratio: float = 0.75
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a slot, on the device of ``rng``."""
        slots, cells = _slots_and_cells(tokens, "a frame mask")
        num_visible = count_visible(slots, self.ratio, self.rounding)
        order = _uniform(tokens.shape[0], slots, tokens, rng).argsort(dim=1)
        cell = torch.arange(cells, device=order.device)
        visible, hidden = (part[..., None] * cells + cell for part in (order[:, :num_visible], order[:, num_visible:]))
        return Mask(visible=visible.flatten(1), hidden=hidden.flatten(1))


def _slots_and_cells(tokens: Tokens, what: str) -> tuple[int, int]:
    """Return the length of the grid's first axis and the number of cells in each of its slots."""
    if tokens.grid is None or tokens.valid is not None:
        raise ValueError(f"{what} needs tokens that fill a grid, without padding; choose Uniform for others")
    return tokens.grid[0], math.prod(tokens.grid[1:])


@part
@dataclass(frozen=True, kw_only=True)
class BlockMasker:
    """Hide the tokens nearest to one of them, drawn at random per sample. Point-MAE (arXiv:2203.06604), "block" mask.

    Nearness is that of ``Tokens.pos``. Padding is left out as ``Uniform`` does.
    """

    ratio: float = 0.6
    rounding: Rounding = "hide"

    def __post_init__(self) -> None:
        """Check the ratio."""
        check_ratio(self.ratio)

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number a token, on the device of ``rng``; the highest names the middle."""
        draws = uniform_scores(tokens, rng)
        num_tokens, num_visible = count_both(tokens, self.ratio, self.rounding)
        if tokens.valid is not None:
            draws = draws.masked_fill(~tokens.valid, -1.0)
        middle = take(tokens.pos, draws.argmax(dim=1, keepdim=True))
        nearness = -(tokens.pos - middle).square().sum(dim=-1)
        if tokens.valid is not None:
            # Hidden tokens come last among as many as the shortest sample has, so the middle's surroundings go first.
            nearness = nearness.masked_fill(~tokens.valid, -torch.inf)
            order = nearness.argsort(dim=1, descending=True)
            num_hidden = num_tokens - num_visible
            return Mask(visible=order[:, num_hidden:num_tokens], hidden=order[:, :num_hidden])
        return mask_from_scores(nearness, num_visible, valid=None)


def uniform_scores(tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    """Return one number in [0, 1) a token. Drawn where ``rng`` lives, so a CPU generator gives all devices one mask."""
    return _uniform(*tokens.shape, tokens, rng)


def _uniform(batch: int, count: int, tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    device = tokens.x.device if rng is None else rng.device
    return torch.rand(batch, count, generator=rng, device=device).to(tokens.x.device)


class Score(Protocol):
    """Scores tokens: (tokens, rng) -> [B N]. A score that looks at the model writes ``*, step``."""

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *_: Any, **__: Any) -> Float[Tensor, "B N"]:
        """Return one number a token; the highest are hidden first."""


@part
@dataclass(frozen=True, kw_only=True)
class ByScore:
    """Hide the tokens of the highest score, as AttMask (arXiv:2203.12719) and HPM (arXiv:2304.05919) do.

    ``ratio`` of the tokens are hidden; it goes to ``end_ratio`` linearly over the run. Of the hidden ones a share is
    chosen by score, from ``start_share`` at the beginning of the run to ``end_share`` at its end, rounded down; the
    others are drawn evenly among the rest. HPM goes from 0 to 0.5, AttMask has 1 throughout. The mask carries the
    scores, without their gradient.
    """

    score: Score
    ratio: float = 0.75
    end_ratio: float | None = None
    start_share: float = 1.0
    end_share: float = 1.0
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Check the settings."""
        for ratio in (self.ratio, self.ratio if self.end_ratio is None else self.end_ratio):
            check_ratio(ratio)
        if not (0 <= self.start_share <= 1 and 0 <= self.end_share <= 1):
            raise ValueError(f"shares must lie in [0, 1], got {self.start_share} and {self.end_share}")

    @property
    def varies(self) -> bool:
        """Whether the counts change over the run."""
        return self.end_ratio is not None and self.end_ratio != self.ratio

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *, step: Step) -> Mask:
        """Draw one uniform number a token, on the device of ``rng``."""
        end = self.ratio if self.end_ratio is None else self.end_ratio
        ratio = self.ratio + (end - self.ratio) * step.progress
        share = self.start_share + (self.end_share - self.start_share) * step.progress
        num_tokens, num_visible = count_both(tokens, ratio, self.rounding)
        noise = uniform_scores(tokens, rng)
        with torch.no_grad():
            scores = call(self.score, tokens, rng, step=step).float()
        if tokens.valid is not None:
            scores = scores.masked_fill(~tokens.valid, -torch.inf)
        forced = scores.argsort(dim=1, descending=True)[:, : int((num_tokens - num_visible) * share)]
        order = noise.scatter_add(1, forced, torch.ones_like(noise))  # above all that are drawn evenly
        mask = mask_from_scores(order, num_visible, num_hidden=num_tokens - num_visible, valid=tokens.valid)
        return Mask(visible=mask.visible, hidden=mask.hidden, scores=scores)


@part
@dataclass(frozen=True, kw_only=True)
class Several:
    """Draw several masks of each sample in a step: each masker ``times`` times. V-JEPA (arXiv:2404.08471), section 3.1.

    Masks of one shape are encoded in one pass. The loss is the mean over all masks.
    """

    maskers: tuple[Masker, ...]
    times: int = 1

    def __post_init__(self) -> None:
        """Check the settings."""
        if not self.maskers or self.times < 1:
            raise ValueError(f"several masks need a masker and times of at least 1, got {self.times}")

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *, step: Step) -> tuple[Mask, ...]:
        """Draw the masks one after another from ``rng``."""
        masks: list[Mask] = []
        for masker in self.maskers:
            for _ in range(self.times):
                drawn = call(masker, tokens, rng, step=step)
                masks += [drawn] if isinstance(drawn, Mask) else drawn
        return tuple(masks)


_OURS: dict[str, Callable[..., Masker]] = {
    "uniform": Uniform,
    "stripes": Stripes,
    "tube": TubeMasker,
    "frame": FrameMasker,
    "block": BlockMasker,
    "unit": UnitMasker,
}


def names() -> tuple[str, ...]:
    """Return the names that ``make`` knows: maskkit's and those of installed packages (group ``maskkit.maskers``)."""
    return (*_OURS, *(entry.name for entry in entry_points(group="maskkit.maskers") if entry.name not in _OURS))


def make(name: str, **settings: object) -> Masker:
    """Build a masker by name. Raises ValueError for an unknown name or settings that it does not have.

    >>> make("uniform", ratio=0.5)
    Uniform(ratio=0.5, rounding='keep')
    """
    if name in _OURS:
        kind = _OURS[name]
    else:
        found = [entry for entry in entry_points(group="maskkit.maskers") if entry.name == name]
        if not found:
            raise ValueError(f"masker must be one of {', '.join(names())}, got {name!r}")
        kind = found[0].load()
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"masker {name!r}: {str(error).removeprefix(f'{kind.__name__}.__init__() ')}") from None


def __getattr__(name: str) -> tuple[str, ...]:
    """Look up ``NAMES`` when it is asked for, since installed packages add to it."""
    if name == "NAMES":
        return names()
    raise AttributeError(f"module maskkit.maskers has no attribute {name!r}")
