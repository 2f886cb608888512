"""Loader processes that die or give nothing: noticed, named with the file that they were reading, and ended."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from typing import TypeVar

import torch
from torch.utils.data import DataLoader, get_worker_info

from maskkit.data.limits import seconds_limit
from maskkit.data.source import Source

T = TypeVar("T")

_NOTHING = -1  # in place of an index: no sample is being read


class LoaderDiedError(ChildProcessError):
    """A loader process was killed, crashed, or gave nothing for a long time. The message is one line."""


class Reading:
    """What each loader process is reading, in memory that it shares with the process of the run."""

    def __init__(self, workers: int) -> None:
        shared = torch.full((2, max(workers, 1)), _NOTHING).share_memory_()  # type: ignore[no-untyped-call]
        self._pids, self._items = shared.unbind()

    @contextlib.contextmanager
    def item(self, index: int) -> Iterator[None]:
        """Note in a loader process that it reads an item. A process that is killed leaves the note behind."""
        worker = get_worker_info()
        if worker is None:
            yield
            return
        self._pids[worker.id], self._items[worker.id] = os.getpid(), index
        try:
            yield
        finally:
            self._items[worker.id] = _NOTHING

    def of(self, pids: list[int]) -> list[int]:
        """Return the items that some processes are, or were, reading."""
        pairs = zip(self._pids.tolist(), self._items.tolist(), strict=True)
        return [item for pid, item in pairs if pid in pids and item != _NOTHING]


def silence_limit() -> float:
    """Return the seconds after which loader processes that give nothing are ended: five times those of one sample."""
    return 5 * seconds_limit()


def watched(loader: DataLoader[T], source: Source, reading: Reading) -> Iterator[T]:
    """Yield the batches of a loader. Raises LoaderDiedError, with the reason and the file, for a process that died."""
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None
    others = multiprocessing.active_children()
    batches = iter(loader)
    processes = [each for each in multiprocessing.active_children() if each not in others]
    if before is not None and threading.current_thread() is threading.main_thread():
        # torch would raise its error from a signal handler, in the middle of whatever runs.
        signal.signal(signal.SIGCHLD, before)
    watch = _Watch(processes)
    try:
        while True:
            watch.waits_since = time.monotonic()
            try:
                batch = next(batches)
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                if not watch.ended_them and not str(error).startswith("DataLoader"):
                    raise
                raise LoaderDiedError(_explained(watch, source, reading)) from None
            watch.waits_since = None
            yield batch
    finally:
        watch.done.set()


class _Watch:
    """Ends loader processes that give nothing for the limit.

    torch's own timeout does not suffice: a batch of a stopped process can arrive whose memory that process must still
    hand over, and the wait for it has no end. It ends with the process.
    """

    def __init__(self, processes: list[BaseProcess]) -> None:
        self.processes = processes
        self.waits_since: float | None = None
        self.ended_them = False
        self.done = threading.Event()
        self.limit = silence_limit()
        if processes:
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self.done.wait(min(1.0, self.limit / 10)):
            since = self.waits_since
            if since is not None and time.monotonic() - since > self.limit:
                self.ended_them = True
                self.end()
                return

    def end(self) -> None:
        """Kill the processes. A stopped process ignores SIGTERM."""
        for each in self.processes:
            each.kill()


def _explained(watch: _Watch, source: Source, reading: Reading) -> str:
    """Return in one line which process died of what, and what it was reading. Ends the other processes."""
    dead = [] if watch.ended_them else [each for each in watch.processes if each.exitcode]
    items = reading.of([each.pid or 0 for each in dead or watch.processes])
    files = f" while reading {source.path(items[0])}" if items else ""
    watch.end()
    if dead:
        what, mend = _cause(dead[0].exitcode or 0)
        return f"loader process {dead[0].pid} {what}{files}; {mend}"
    limit = f"{watch.limit:g} seconds"
    return f"the loader processes gave nothing for {limit}{files}; raise MASKKIT_SAMPLE_SECONDS if they need longer"


def _cause(code: int) -> tuple[str, str]:
    """Return what happened to a process that ended with an exit code, and how to mend it."""
    if code == -signal.SIGKILL:
        return "was killed", "most likely memory ran out: use fewer --workers"
    if code == -getattr(signal, "SIGBUS", 0):
        return (
            "crashed (SIGBUS)",
            "a file was truncated while it was open, or shared memory is full: use fewer --workers",
        )
    if code < 0:
        return f"crashed ({signal.Signals(-code).name})", "the file may be damaged: remove or convert it"
    return f"ended with code {code}", "see the lines above"
