"""Ranges of the numbers in settings: declared at a field, checked when settings are made.

A field says its range in its type, such as ``batch: Annotated[int, Range(least=1)]`` or ``mask_ratio: Share``.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """A range of finite numbers. ``least`` and ``most`` belong to it, ``above`` and ``below`` do not."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    flag: str | None = None  # name of the flag, if it is not that of the field

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def rule(self, value: float) -> str:
        """Return the rule that a number outside of the range breaks, such as ``be at least 1``."""
        if self.below is not None or self.most == 1:
            low = f"({self.above:g}" if self.least is None else f"[{self.least:g}"
            return f"lie in {low}, {f'{self.below:g})' if self.most is None else f'{self.most:g}]'}"
        if self.least is not None and not value >= self.least:
            return f"be at least {self.least:g}"
        if self.above is not None and not value > self.above:
            return f"be above {self.above:g}" if self.above else "be positive"
        return "be finite" if self.most is None else f"be at most {self.most}"


MANY = 2**31 - 1

Count = Annotated[int, Range(least=1, most=MANY)]
CountOrZero = Annotated[int, Range(least=0, most=MANY)]
Samples = Annotated[int, Range(least=1, most=2**20)]  # of a batch
Processes = Annotated[int, Range(least=0, most=1024)]  # loader workers
Length = Annotated[int, Range(least=1, most=65_536)]  # of an axis: pixels, frames, channels; and numbers of blocks
Seed = Annotated[int, Range(least=0, most=2**63 - 1)]
Number = Annotated[float, Range()]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(above=0, below=1)]  # such as of hidden tokens
ShareOrAll = Annotated[float, Range(above=0, most=1)]
Part = Annotated[float, Range(least=0, most=1)]
Decay = Annotated[float, Range(least=0, below=1)]  # of moving averages; also the rates of stochastic depth


def check_ranges(settings: object) -> None:
    """Raise ValueError for the first number in some settings, or in a tuple of theirs, that is outside of its range."""
    for name, allowed in ranges_of(type(settings)).items():
        for number in _numbers(getattr(settings, name)):
            if not allowed.holds(number):
                raise ValueError(
                    f"--{allowed.flag or name.replace('_', '-')} must {allowed.rule(number)}, got {number}"
                )


def ranges_of(kind: type) -> dict[str, Range]:
    """Return the ranges that the fields of a dataclass declare, by the name of the field."""
    hints = get_type_hints(kind, include_extras=True)
    found = {each.name: next(_ranges(hints[each.name]), None) for each in dataclasses.fields(kind)}
    return {name: one for name, one in found.items() if one is not None}


def _ranges(hint: object) -> Iterator[Range]:
    """Yield the ranges in a type, such as ``tuple[Annotated[int, Range(least=1)], ...] | None``."""
    if get_origin(hint) is Annotated:
        yield from (each for each in get_args(hint) if isinstance(each, Range))
    for inner in get_args(hint):
        yield from _ranges(inner)


def _numbers(value: object) -> Iterator[int | float]:
    """Yield the numbers of a field: the value itself, or those of a tuple."""
    if isinstance(value, tuple | list):
        for each in value:
            yield from _numbers(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
