"""The end of a process whose run has lost another one: one line, and an exit code that says whether to resume."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from maskkit.engine.checkpoints import all_checkpoints
from maskkit.engine.distributed import has_lost_process
from maskkit.engine.log import report
from maskkit.engine.run import RunFolder
from maskkit.engine.signals import Stopped


@contextlib.contextmanager
def stop_if_lost(out: Path) -> Iterator[None]:
    """End this process with one line if another one of the run is gone, and a step cannot be finished without it.

    The exit code is 3 if there is a checkpoint in the folder ``out`` to continue from, and 2 otherwise.
    """
    try:
        yield
    except Exception as error:
        if not has_lost_process(error):
            raise
        saved = all_checkpoints(RunFolder(out).checkpoints)
        rank = os.environ.get("RANK", "0")
        last = f"saved at step {int(saved[-1].name[5:])}; continue with --resume" if saved else "nothing was saved yet"
        report(f"process {rank}: another process of the run is gone (killed, or its own message says why); {last}")
        raise Stopped(3 if saved else 2) from None
