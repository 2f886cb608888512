"""Checks of headers that several formats share. A count in a header decides how much memory is taken, so it is checked.

Errors are ValueError; the caller adds the path.
"""

import os


def read_head(path: str, size: int = 65536) -> bytes:
    """Return the first bytes of a file."""
    with open(path, "rb") as file:
        return file.read(size)


def check_counts(path: str, counts: dict[str, int]) -> None:
    """Refuse a count of elements that the file's size cannot hold: each element takes at least two bytes."""
    size = os.path.getsize(path)
    for name, count in counts.items():
        if not 0 <= count <= size // 2:
            raise ValueError(f"its header counts {count} {name}, which {size} bytes cannot hold")


def check_room(what: str, count: int, width: int, room: int) -> None:
    """Refuse a file that ends before ``count`` elements of ``width`` bytes."""
    if count * width > room:
        raise ValueError(f"truncated: {count} {what} of {width} bytes do not fit into it")
