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
DOWNLOAD_SECONDS = 30.0  # MASKKIT_DOWNLOAD_SECONDS: a server that sends nothing for so long has failed
GIB = 1.0  # MASKKIT_SAMPLE_GIB: 350 million RGB pixels, or 4 hours of sound at 16 kHz


class TooSlowError(BaseException):
    """Reading one sample took longer than the limit.

    It is no Exception, so that readers, which catch any, do not take it for a broken file.
    """


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


@contextlib.contextmanager
def no_time_limit() -> Iterator[None]:
    """Suspend ``time_limit`` in the body, for a wait that is no fault of the sample."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        yield
    finally:
        if left:
            signal.setitimer(signal.ITIMER_REAL, left)


def download_seconds() -> float:
    """Return the seconds for which a server may send nothing."""
    return _limit("MASKKIT_DOWNLOAD_SECONDS", DOWNLOAD_SECONDS)


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
