"""Handling of signals that stop a run after its current step."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator

# SIGHUP comes when a terminal is closed. Windows lacks the last two.
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]


class Stopped(SystemExit):  # noqa: N818  # not an error: the run was saved and can be resumed
    """A signal stopped the run after it was saved; exit code 3."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Let SIGINT, SIGTERM, SIGUSR1 and SIGHUP stop the run after the step. A second signal stops it at once."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print(f"\n{signal.Signals(number).name}: saving after this step", file=sys.stderr)

    try:
        # nohup ignores SIGHUP, and so do we under it.
        heard = [number for number in STOPPING if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, note) for number in heard}
    except ValueError:  # outside of the main thread, the caller handles signals
        before = {}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
