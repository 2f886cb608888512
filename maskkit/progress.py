"""Progress of long work: a bar on a terminal, or occasional lines elsewhere, with the remaining time."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from maskkit.printing import say

PLAIN_SECONDS = 5.0  # seconds between two lines if the output is no terminal


def clock(seconds: float) -> str:
    """Format a duration in seconds as hours, minutes and seconds.

    >>> clock(75), clock(7260)
    ('1:15', '2:01:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


Item = TypeVar("Item")


def track(items: Sequence[Item], what: str, *, after: float = 2.0) -> Iterator[Item]:
    """Yield the items, and show the progress on stderr if they take more than ``after`` seconds."""
    console = Console(stderr=True)
    began, said, bar = time.perf_counter(), 0.0, None
    try:
        for done, item in enumerate(items):
            passed = time.perf_counter() - began
            if passed >= after and console.is_terminal:
                if bar is None:
                    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
                    bar = Progress(*columns, TimeRemainingColumn(), console=console)
                    bar.add_task(what, total=len(items))
                    bar.start()
                bar.update(bar.task_ids[0], completed=done)
            elif passed >= after and done and (passed - said >= PLAIN_SECONDS or not said):
                left = passed / done * (len(items) - done)
                print(f"{what}: {done}/{len(items)} · {clock(left)} left", file=sys.stderr, flush=True)
                said = passed
            yield item
        if bar is not None:
            bar.update(bar.task_ids[0], completed=len(items))
    finally:
        if bar is not None:
            bar.stop()


@contextlib.contextmanager
def waiting(describe: Callable[[], str], *, after: float = 2.0) -> Iterator[None]:
    """Print what ``describe`` returns on stderr if the body takes more than ``after`` seconds, and again at times."""
    done = threading.Event()

    def speak() -> None:
        pause = after
        while not done.wait(pause):
            if text := describe():
                say(text)
            pause = PLAIN_SECONDS

    thread = threading.Thread(target=speak, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
