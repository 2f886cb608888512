"""What becomes of a file that is read."""

from typing import NamedTuple

FINE = ("sample", "bad sample", "refused")


class Outcome(NamedTuple):
    """A sample, a bad sample, or a file that is refused as a whole, before a run; else a kind of failure."""

    kind: str
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the file was not read as it must be."""
        return self.kind not in FINE
