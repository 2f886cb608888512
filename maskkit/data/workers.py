"""Loader processes that die or give nothing: noticed, named with the file that they were reading, and ended."""

import contextlib
import multiprocessing
import os
import signal
import threading
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
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except RuntimeError as error:
            if not str(error).startswith("DataLoader"):
                raise
            raise LoaderDiedError(_explained(processes, source, reading)) from None
        yield batch


def _explained(processes: list[BaseProcess], source: Source, reading: Reading) -> str:
    """Return in one line which process died of what, and what it was reading. Ends processes that hang."""
    dead = [each for each in processes if each.exitcode]
    named = dead or processes
    items = reading.of([each.pid or 0 for each in named])
    files = f" while reading {source.path(items[0])}" if items else ""
    for each in processes:  # a stopped process ignores the polite signal, and would be waited for without end
        each.kill()
    if dead:
        code = dead[0].exitcode or 0
        return f"loader process {dead[0].pid} {_cause(code)}{files}"
    seconds = silence_limit()
    return f"the loader processes gave nothing for {seconds:g} seconds{files}; raise MASKKIT_SAMPLE_SECONDS if they may"


def _cause(code: int) -> str:
    if code == -signal.SIGKILL:
        return "was killed, most likely because memory ran out; use fewer --workers"
    if code == -getattr(signal, "SIGBUS", 0):
        return "crashed (SIGBUS: a file was truncated while it was open, or shared memory is full)"
    if code < 0:
        return f"crashed ({signal.Signals(-code).name}); the file may be damaged: remove or convert it"
    return f"ended with code {code}"
