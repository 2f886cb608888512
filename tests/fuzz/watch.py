"""A child process that reads files: started, asked and watched."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Self

from tests.fuzz.outcome import Outcome

ROOT = Path(__file__).parents[2]
SECONDS = 10.0  # for one small file; the child interrupts itself then, and is ended after three times as long
WARMING = 300.0  # seconds for the imports of all libraries


class Case(NamedTuple):
    """A file to read, in a setting."""

    name: str
    content: bytes
    setting: str


class Reader:
    """Reads files of ``modality`` in a child process and says what became of them.

    ``warm`` are undamaged files. The child reads them first, so that libraries are imported before memory is limited.
    ``subjects`` is the module whose SUBJECTS the child reads by; ``scratch`` is a folder.
    """

    def __init__(
        self,
        modality: str,
        scratch: Path,
        warm: list[Case],
        *,
        subjects: str = "tests.fuzz.subjects",
        seconds: float = SECONDS,
    ) -> None:
        self.modality, self._scratch, self._seconds, self._heard = modality, scratch, seconds, b""
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASKKIT_SAMPLE_SECONDS": str(seconds)}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child", subjects],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for number, case in enumerate(warm, 1):
            outcome = self._ask(case, WARMING, warm=True, last_warm=number == len(warm))
            if outcome.kind != "sample":
                raise RuntimeError(f"undamaged {case.name}, read as {case.setting}: {outcome.kind} ({outcome.detail})")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        """End the child."""
        self._child.communicate()

    def read(self, case: Case) -> Outcome:
        """Return what becomes of a file."""
        return self._ask(case, 3 * self._seconds)

    def _ask(self, case: Case, seconds: float, *, warm: bool = False, last_warm: bool = False) -> Outcome:
        assert self._child.stdin is not None
        path = self._scratch / case.name
        path.write_bytes(case.content)
        task = {"modality": self.modality, "path": str(path), "setting": case.setting}
        try:
            self._child.stdin.write(json.dumps({**task, "warm": warm, "last_warm": last_warm}).encode() + b"\n")
            self._child.stdin.flush()
            answer = self._line(seconds)
            if answer is None:
                os.kill(self._child.pid, signal.SIGUSR1)
                self._line(WARMING)
                return Outcome("hang", f"no answer for {seconds:.0f} s")
            return Outcome(*json.loads(answer))
        finally:
            path.unlink(missing_ok=True)

    def _line(self, seconds: float) -> bytes | None:
        """Return the next line of the child; None if there is none for so long."""
        assert self._child.stdout is not None
        while b"\n" not in self._heard:
            if not select.select([self._child.stdout], [], [], seconds)[0]:
                return None
            block = os.read(self._child.stdout.fileno(), 65536)
            if not block:
                raise RuntimeError(f"the reading process ended with code {self._child.wait()}")
            self._heard += block
        line, _, self._heard = self._heard.partition(b"\n")
        return line
