"""What one sample may cost: seconds of reading, and bytes when decoded.

A file of a few kilobytes can claim to hold gigabytes, and a damaged one can keep a decoder busy without end.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from maskkit.files import BadSampleError

SECONDS = 120.0  # MASKKIT_SAMPLE_SECONDS: no slow disk reaches it
GIB = 1.0  # MASKKIT_SAMPLE_GIB: 350 million RGB pixels, or 4 hours of sound at 16 kHz


class TooSlowError(Exception):
    """Reading one sample took longer than the limit."""


def check_decoded(path: str, size: int, what: str = "") -> None:
    """Raise BadSampleError if ``size`` bytes are more than a decoded sample may take. ``what`` is named in the message.

    Readers call it with the numbers of a header, before they decode. Reading may take up to four times the limit, since
    libraries convert copies.
    """
    limit = _limit("MASKKIT_SAMPLE_GIB", GIB)
    if size > limit * 2**30:
        raise BadSampleError(
            path,
            f"decodes to {size / 2**30:.3g} GiB{f' ({what})' if what else ''}, more than the limit of {limit:g} GiB; "
            "cut it into smaller samples, or set MASKKIT_SAMPLE_GIB",
        )


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raise TooSlowError in the body once it took longer than the limit.

    It needs a timer signal, so it holds in the main thread of a process (loader workers read in theirs) and not on
    Windows. Code of a library that does not return to Python is not interrupted; ``load`` notices such workers.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    limit = seconds_limit()

    def expire(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"takes longer than {limit:g} seconds to read; raise MASKKIT_SAMPLE_SECONDS if it may")

    started = time.monotonic()
    handler = signal.signal(signal.SIGALRM, expire)
    before, _ = signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if before:  # another timer of this process goes on
            signal.setitimer(signal.ITIMER_REAL, max(before - (time.monotonic() - started), 1e-3))


def seconds_limit() -> float:
    """Return the seconds that reading one sample may take."""
    return _limit("MASKKIT_SAMPLE_SECONDS", SECONDS)


def _limit(name: str, default: float) -> float:
    """Return a limit from the environment. Raises ValueError for a value that is no positive number."""
    text = os.environ.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise ValueError(f"the environment variable {name} must be a positive number, got {text!r}")
    return value
