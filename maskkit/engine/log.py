"""The log of a run: a progress bar or plain lines, metrics.jsonl, and TensorBoard."""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from maskkit.printing import printable, say
from maskkit.progress import PLAIN_SECONDS, clock

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class Log:
    """Writes metrics and shows progress. It is a context manager."""

    def __init__(self, metrics: Path, board: Path, *, steps: int, start: int, keep_bytes: int = 0) -> None:
        self._file = metrics.open("a")
        # Lines that were written after the checkpoint are written again. A file is never made longer.
        kept = _whole_lines(metrics, keep_bytes)
        self._lost = keep_bytes - kept  # bytes that somebody deleted
        self._file.truncate(kept)
        self._board: SummaryWriter | None = None
        self._board_path, self._steps, self._start = board, steps, start
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._said = self._began = time.perf_counter()
        if self._lost:
            self.say(f"{metrics} lacks {self._lost} bytes that it had when the run was saved; earlier rows are missing")

    def __enter__(self) -> Self:
        """Start the bar and TensorBoard's writer."""
        from torch.utils.tensorboard import SummaryWriter  # half a second that --help need not wait for

        self._board = SummaryWriter(str(self._board_path), purge_step=self._start)
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            rest = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"))
            self._bar = Progress(*columns, *rest, console=self._console)
            self._task = self._bar.add_task("pretrain", total=self._steps, completed=self._start, numbers="")
            self._bar.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the bar, the file and the writer, also after an error."""
        if self._bar is not None:
            self._bar.stop()
        if self._board is not None:
            self._board.close()
        self._file.close()

    def write(self, metrics: Mapping[str, float | int]) -> None:
        """Write one JSON object and show it. JSON has no NaN, so values that are not finite become null."""
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self._file.write(json.dumps(finite) + "\n")
        self._file.flush()
        step = int(metrics["step"])
        for name, value in metrics.items():
            if name != "step" and self._board is not None:
                self._board.add_scalar(name, value, step)
        self.show(metrics)

    def show(self, metrics: Mapping[str, float | int]) -> None:
        """Update the bar, or print an occasional line."""
        step, now = int(metrics["step"]), time.perf_counter()
        numbers = f"loss {metrics['loss']:.4f} · {metrics['samples_per_second']:.0f} samples/s"
        if metrics["data_wait"] > 0.2:
            numbers += f" · waits {metrics['data_wait']:.0%} for data"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, numbers=numbers)
        elif now - self._said >= PLAIN_SECONDS or step == self._steps:
            left = (now - self._began) / max(step - self._start, 1) * (self._steps - step)
            print(f"step {step}/{self._steps} · {numbers} · {clock(left)} left", file=sys.stderr, flush=True)
            self._said = now

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        # A path may hold [brackets].
        self._console.print(printable(text), markup=False, highlight=False, soft_wrap=True)

    def picture(self, path: Path, step: int) -> None:
        """Add a PNG to TensorBoard for a step."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            if self._board is not None:
                self._board.add_image("reconstruction", np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def bytes(self) -> int:
        """Flush the metrics file to disk and return its length in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return os.fstat(self._file.fileno()).st_size

    def rewind(self, step: int, keep_bytes: int) -> None:
        """Delete what was written after a checkpoint."""
        self._file.truncate(min(keep_bytes, os.fstat(self._file.fileno()).st_size))
        if self._bar is not None:
            self._bar.update(self._task, completed=step)


def _whole_lines(file: Path, most: int) -> int:
    """Return the length in bytes of the lines that end within the first ``most`` bytes of a file."""
    return file.read_bytes()[:most].rfind(b"\n") + 1


def report(text: str) -> None:
    """Print a line about the run on stderr."""
    say(text)


def report_nothing(text: str) -> None:
    """Print nothing, in all processes except the first."""


class NullLog:
    """The log of all processes except the first. It writes and prints nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def write(self, metrics: Mapping[str, float | int]) -> None:
        """Write nothing."""

    def say(self, text: str) -> None:
        """Print nothing."""

    def picture(self, path: Path, step: int) -> None:
        """Show nothing."""

    def bytes(self) -> int:
        """Return 0."""
        return 0

    def rewind(self, step: int, keep_bytes: int) -> None:
        """Forget nothing."""
