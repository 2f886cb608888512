"""Reading of many damaged files of a modality: the n-th file of a seed number is always the same."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.mutations import mutate
from tests.fuzz.outcome import FINE, Outcome
from tests.fuzz.seeds import seeds, settings_for
from tests.fuzz.watch import Case, Reader


class Failure(NamedTuple):
    """A file that is not read as it must be."""

    case: Case
    outcome: Outcome


def undamaged(modality: str) -> list[Case]:
    """Return all seeds in all their settings."""
    return [
        Case(name, content, setting)
        for name, content in seeds(modality).items()
        for setting in settings_for(modality, name)
    ]


def damaged(modality: str, seed: int) -> Iterator[Case]:
    """Yield damaged files without end, of each seed file in turn."""
    cases = undamaged(modality)
    number = 0
    while True:
        name, content, setting = cases[number % len(cases)]
        yield Case(name, mutate(content, random.Random(f"{seed} {modality} {number}")), setting)
        number += 1


@dataclass
class Result:
    """What became of the files: counts by suffix and kind, and the failures."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, case: Case, outcome: Outcome) -> None:
        """Count a file; keep it if it failed."""
        self.counts[Path(case.name).suffix, outcome.kind] += 1
        if outcome.failed:
            self.failures.append(Failure(case, outcome))

    @property
    def total(self) -> int:
        """The number of files."""
        return self.counts.total()

    def table(self) -> str:
        """Return the counts, a line for each suffix."""
        kinds = [*FINE, *sorted({kind for _, kind in self.counts} - set(FINE))]
        suffixes = sorted({suffix for suffix, _ in self.counts})
        rows = [["", *kinds]]
        rows += [[suffix, *(str(self.counts[suffix, kind]) for kind in kinds)] for suffix in suffixes]
        rows += [["all", *(str(sum(self.counts[suffix, kind] for suffix in suffixes)) for kind in kinds)]]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def reader(modality: str, scratch: Path) -> Reader:
    """Return a reader of a modality that reads all undamaged files first."""
    return Reader(modality, scratch, undamaged(modality))
