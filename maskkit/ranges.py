"""Ranges of the numbers in settings: declared at the field, checked when the settings are made.

    batch: Annotated[int, AtLeast(1)] = 64

``check_ranges(settings)`` raises one line with the flag, the range and the value. NaN is in no range, and infinity only
if ``finite`` is False.
"""

import dataclasses
import functools
import math
from dataclasses import dataclass
from typing import Annotated, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Range:
    """A range of numbers. The ends belong to it, except for ``above`` and ``below``."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    finite: bool = True

    def holds(self, value: float) -> bool:
        """Return whether a number lies in the range."""
        return (
            not math.isnan(value)
            and (math.isfinite(value) or not self.finite)
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """Return the range in words, such as ``at least 1`` or ``in (0, 1)``."""
        low = self.least if self.least is not None else self.above
        high = self.most if self.most is not None else self.below
        if low is not None and high is not None:
            return f"in {'[' if self.least is not None else '('}{low:g}, {high:g}{']' if self.most is not None else ')'}"
        if low is not None:
            return f"at least {low:g}" if self.least is not None else "positive" if low == 0 else f"above {low:g}"
        if high is not None:
            return f"at most {high:g}" if self.most is not None else f"below {high:g}"
        return "finite"


Count = Annotated[int, Range(least=1, most=2**31 - 1)]  # batches, sizes, steps
CountOrNone = Annotated[int, Range(least=0, most=2**31 - 1)]  # workers
Positive = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(above=0, below=1)]  # mask ratios
Part = Annotated[float, Range(least=0, most=1)]  # shares of a whole


def ranges_of(kind: type) -> dict[str, Range]:
    """Return the range of each field of a dataclass that declares one."""
    return dict(_ranges(kind))


@functools.cache
def _ranges(kind: type) -> tuple[tuple[str, Range], ...]:
    hints = get_type_hints(kind, include_extras=True)
    found = ((each.name, _range(hints[each.name])) for each in dataclasses.fields(kind))
    return tuple((name, one) for name, one in found if one is not None)


def _range(hint: object) -> Range | None:
    """Return the first range in a type, such as that of ``Annotated[int, Range(least=1)] | None``."""
    inside: tuple[object, ...] = get_args(hint)
    if get_origin(hint) is Annotated:
        inside = (*inside[1:], inside[0])
    return next((one for each in inside if (one := each if isinstance(each, Range) else _range(each)) is not None), None)


def check_ranges(settings: object) -> None:
    """Raise ValueError if a number of some settings, or one of several in a field, lies outside of its range."""
    for name, allowed in _ranges(type(settings)):
        value = getattr(settings, name)
        for number in value if isinstance(value, tuple | list) else (value,):
            if isinstance(number, int | float) and not isinstance(number, bool) and not allowed.holds(number):
                raise ValueError(f"--{name.replace('_', '-')} must be {allowed}, got {number:g}")
