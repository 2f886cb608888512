"""The record of the unreadable samples of a run."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from maskkit.data.source import Bad
from maskkit.printing import printable


def line_of(path: str, reason: str) -> str:
    """Return the line of a sample in ``skipped.txt``: its path, a tab, and the reason.

    Control characters, such as tabs and line breaks in the name of a file, are written as escapes.
    """
    return f"{printable(path)}\t{printable(' '.join(reason.split()))}\n"


@dataclass
class Skips:
    """The unreadable samples of a run. Each is written once to ``file`` with its reason.

    A run stops if their share of all ``total`` samples is above ``limit``.
    """

    total: int
    limit: float = 0.05
    file: Path | None = None
    """The file to write to, in one process of a run."""
    seen: dict[str, str] = field(default_factory=dict)

    def take_up(self, kept: Path, size: int, say: Callable[[str], None]) -> None:
        """Start with the first ``size`` bytes of the file of an earlier part of the run. Report it if some are missing.

        Later samples will be read again.
        """
        text = kept.read_bytes()[:size] if kept.exists() else b""
        text = text[: text.rfind(b"\n") + 1]
        if len(text) < size:
            say(f"{kept} lacks {size - len(text)} bytes that it had when the run was saved; samples are counted anew")
        if kept.exists() and self.file is not None:
            os.truncate(self.file, len(text))
        pairs = (line.split("\t", 1) for line in text.decode(errors="surrogateescape").split("\n") if "\t" in line)
        self.seen |= {path: reason for path, reason in pairs}

    def add(self, bad: Iterable[Bad]) -> None:
        """Record new samples. Raises ValueError if too many are unreadable."""
        for path, reason in bad:
            line = line_of(path, reason)
            path, reason = line[:-1].split("\t", 1)
            if path not in self.seen:
                self.seen[path] = reason
                if self.file is not None:
                    with self.file.open("a", errors="surrogateescape") as file:
                        file.write(line)
        if len(self.seen) > self.limit * self.total:
            path, reason = next(reversed(self.seen.items()))
            where = f", all named in {self.file}" if self.file is not None else ""
            raise ValueError(
                f"{len(self.seen)} of {self.total} samples cannot be read, more than the limit of {self.limit:.0%} "
                f"(last: {path}: {reason}){where}; fix the data or raise --max-bad"
            )

    def bytes(self) -> int:
        """Return the length of the file in bytes."""
        return self.file.stat().st_size if self.file is not None and self.file.exists() else 0

    def __len__(self) -> int:
        """Return the number of unreadable samples."""
        return len(self.seen)
