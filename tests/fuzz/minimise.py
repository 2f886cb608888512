"""The smallest file that still fails in the same way."""

import time
from collections.abc import Callable


def minimised(content: bytes, fails: Callable[[bytes], bool], seconds: float = 120.0) -> bytes:
    """Remove blocks of ever smaller size, down to single bytes, while ``fails`` holds.

    The result is the best that was found in time.
    """
    deadline = time.monotonic() + seconds
    size = max(len(content) // 2, 1)
    while size and time.monotonic() < deadline:
        content, changed = _without_blocks(content, size, fails, deadline)
        if not changed:
            size //= 2
    return content


def _without_blocks(content: bytes, size: int, fails: Callable[[bytes], bool], deadline: float) -> tuple[bytes, bool]:
    """Remove each block of ``size`` bytes without which the file still fails, from the end."""
    changed = False
    for start in range((len(content) - 1) // size * size, -1, -size):
        shorter = content[:start] + content[start + size :]
        if shorter and time.monotonic() < deadline and fails(shorter):
            content, changed = shorter, True
    return content, changed
