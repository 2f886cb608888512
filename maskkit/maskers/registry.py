"""Maskers by name."""

from collections.abc import Callable
from importlib.metadata import entry_points

from maskkit.maskers.block import BlockMasker
from maskkit.maskers.protocol import Masker
from maskkit.maskers.slots import FrameMasker, TubeMasker
from maskkit.maskers.stripes import Stripes
from maskkit.maskers.uniform import Uniform
from maskkit.maskers.units import UnitMasker

GROUP = __name__.rpartition(".")[0]  # of entry points: maskkit.maskers

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
    return (*_OURS, *(entry.name for entry in entry_points(group=GROUP) if entry.name not in _OURS))


def make(name: str, **settings: object) -> Masker:
    """Build a masker by name. Raises ValueError for an unknown name or setting.

    >>> make("uniform", ratio=0.5)
    Uniform(ratio=0.5, rounding='keep')
    """
    if name in _OURS:
        kind = _OURS[name]
    else:
        found = [entry for entry in entry_points(group=GROUP) if entry.name == name]
        if not found:
            raise ValueError(f"masker must be one of {', '.join(names())}, got {name!r}")
        kind = found[0].load()
    try:
        return kind(**settings)
    except TypeError as error:
        raise ValueError(f"masker {name!r}: {str(error).removeprefix(f'{kind.__name__}.__init__() ')}") from None
