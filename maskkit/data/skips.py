"""The samples of a run that could not be read: written down, counted, limited."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from maskkit.data.source import Bad


@dataclass
class Skips:
    """The broken samples of a run: each named once in ``file`` with its reason, counted, and limited.

    More than ``limit`` of all ``total`` samples broken stops the run: then the data is at fault, not a sample.
    """

    total: int
    limit: float = 0.05
    file: Path | None = None
    """Where they are written down; one process of a run does."""
    seen: dict[str, str] = field(default_factory=dict)

    def take_up(self, kept: Path, size: int) -> None:
        """Start from the first ``size`` bytes of an earlier part's file: later ones will be met again."""
        if kept.exists():
            text = kept.read_bytes()[:size]
            if self.file is not None:
                os.truncate(self.file, len(text))
            pairs = (line.split("\t", 1) for line in text.decode(errors="surrogateescape").splitlines() if "\t" in line)
            self.seen |= {path: reason for path, reason in pairs}

    def add(self, bad: Iterable[Bad]) -> None:
        """Write down what is new. Raises ValueError when too many are broken."""
        for path, reason in bad:
            if path not in self.seen:
                self.seen[path] = reason
                if self.file is not None:
                    with self.file.open("a", errors="surrogateescape") as file:
                        file.write(f"{path}\t{reason}\n")
        if len(self.seen) > self.limit * self.total:
            path, reason = next(reversed(self.seen.items()))
            where = f", all named in {self.file}" if self.file is not None else ""
            raise ValueError(
                f"{len(self.seen)} of {self.total} samples cannot be read, more than the limit of {self.limit:.0%} "
                f"(last: {path}: {reason}){where}; mend the data or raise --max-bad"
            )

    def bytes(self) -> int:
        """Return the length of the file."""
        return self.file.stat().st_size if self.file is not None and self.file.exists() else 0

    def __len__(self) -> int:
        """Return how many samples are broken."""
        return len(self.seen)
