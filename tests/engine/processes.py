"""Real processes for tests of the engine, started fast: a server that has imported everything forks them."""

import importlib
import multiprocessing
import os
import socket
from contextlib import contextmanager
from pathlib import Path

from maskkit.engine import loop

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["maskkit.modalities.image", "maskkit.engine.loop", "torch.utils.tensorboard"])


def start(work, *arguments):
    process = SERVER.Process(target=work, args=arguments)
    process.start()
    return process


def run_one(settings, stop_at=None, modality="image"):
    """Pretrain in this process, alone; with ``stop_at`` as if a signal came in that step."""
    if stop_at is not None:
        loop.interruptible = lambda: _interrupt(stop_at)
    loop.pretrain(settings, importlib.import_module(f"maskkit.modalities.{modality}"))


@contextmanager
def _interrupt(step):
    calls = iter(range(1, 10**9))
    yield lambda: next(calls) == step


def run_rank(rank, size, port, settings, stop_at=None, modality="image"):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    run_one(settings, stop_at, modality)


def run_ranks(size, settings, stop_at=None, modality="image"):
    """Pretrain in ``size`` processes; returns their exit codes."""
    if size == 1:
        processes = [start(run_one, settings, stop_at, modality)]
    else:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        processes = [start(run_rank, rank, size, port, settings, stop_at, modality) for rank in range(size)]
    for process in processes:
        process.join(120)
        assert process.exitcode is not None, "a process hangs"
    return [process.exitcode for process in processes]


def children(pid):
    """Return the processes that a process started itself."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid):
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
