"""The process that reads: paths and settings come in by lines of JSON, and what became of each goes out.

It imports all libraries once, and reads in forks of itself, as loaders do. When one dies, the next is ready at once.
"""

import gc
import importlib
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

from maskkit.data.limits import TooSlowError, seconds_limit
from maskkit.data.source import BadSampleError, Key, Source, num_items, read_sample
from maskkit.seeds import generator
from tests.fuzz.outcome import Outcome
from tests.fuzz.subjects import Setting

SAMPLE_MIB = 32  # the limit of one sample while fuzzing, in place of 1 GiB
READING = 4  # how many times the limit reading may take (maskkit/data/limits.py)
SLACK_MIB = 128  # address space of threads and libraries beside it
LONGEST_REASON = 300  # characters
ROWS = 3  # samples that are read of a file with several


def read(path: str, setting: Setting) -> Outcome:
    """Read a file as a run does. Its first samples are read of several."""
    try:
        source = setting.open(path)
    except (ValueError, OSError) as error:
        return _told("refused", error, path, str(error))
    outcome = Outcome("refused", "no samples")
    for index in range(min(num_items(source), ROWS)):
        outcome = _read_one(source, index, setting)
        if outcome.failed:
            break
    return outcome


def _read_one(source: Source, index: int, setting: Setting) -> Outcome:
    try:
        sample = read_sample(source, Key.of(index), generator(0, index))
    except BadSampleError as error:
        return _told("bad sample", error, error.path, error.reason)
    wrong = setting.wrong(sample)
    return Outcome("not finite", wrong) if wrong else Outcome("sample")


def _told(kind: str, error: BaseException, path: str, reason: str) -> Outcome:
    """Judge an error that is told to the user: by its cause, and by its words."""
    cause: BaseException | None = error
    while cause is not None:
        # FFmpeg has a limit of its own for a block, and says the same where it is reached.
        if isinstance(cause, MemoryError) and not hasattr(cause, "errno"):
            return Outcome("memory", f"asks for more than there is: {reason}")
        if isinstance(cause, TooSlowError):
            return Outcome("hang", reason)
        cause = cause.__cause__ or cause.__context__
    words = reason.replace(path, "")
    if len(words.splitlines()) != 1 or len(words) > LONGEST_REASON:
        return Outcome("reason", f"{len(words.splitlines())} lines, {len(words)} characters: {words[:80]!r}")
    return Outcome(kind, words)


def watched(path: str, setting: Setting) -> Outcome:
    """Read a file under the limits of memory."""
    limit = READING * SAMPLE_MIB
    _forget_peak()
    before = _status("VmRSS")
    try:
        with _room(limit + SLACK_MIB):
            outcome = read(path, setting)
    except Exception as error:  # noqa: BLE001  # this is what is looked for
        return Outcome("exception", f"{type(error).__name__}: {error}"[:LONGEST_REASON])
    used = (_status("VmHWM") - before) / 1024
    return Outcome("memory", f"took {used:.0f} MiB") if used > limit else outcome


@contextmanager
def _room(mebibytes: int) -> Iterator[None]:
    """Limit the address space of this process to what it has and so much more."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (_status("VmSize") * 1024 + mebibytes * 2**20, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _status(name: str) -> int:
    """Return a number of /proc/self/status, in KiB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1])


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def serve(subjects: dict[str, Callable[[], dict[str, Setting]]], asked: BinaryIO, answers: BinaryIO) -> None:
    """Answer each line until the input ends. Seeds come first and are read without limits of memory."""
    settings_of = cache(lambda modality: subjects[modality]())
    for line in iter(asked.readline, b""):
        task = json.loads(line)
        path, setting = task["path"], settings_of(task["modality"])[task["setting"]]
        began = time.monotonic()
        outcome = read(path, setting) if task["warm"] else watched(path, setting)
        seconds = time.monotonic() - began
        if not outcome.failed and seconds > seconds_limit():
            outcome = Outcome("hang", f"took {seconds:.1f} s")
        answers.write(json.dumps(outcome).encode() + b"\n")
        if task["last_warm"]:
            return


def main() -> None:
    """Import what seeds need, then read in forked processes, one after the other dies. SIGUSR1 ends one that hangs.

    The only argument is the module that has SUBJECTS.
    """
    os.environ["MASKKIT_SAMPLE_GIB"] = str(SAMPLE_MIB / 1024)
    asked, answers = open(0, "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print is no answer
    subjects = importlib.import_module(sys.argv[1]).SUBJECTS
    serve(subjects, asked, answers)
    gc.collect()  # as before loaders are forked: objects with threads cannot be freed in a fork
    while True:
        reader = os.fork()
        if reader == 0:
            serve(subjects, asked, answers)
            os._exit(0)
        signal.signal(signal.SIGUSR1, partial(_kill, reader))
        status = os.waitpid(reader, 0)[1]
        if status == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        answers.write(json.dumps(Outcome("abort", how)).encode() + b"\n")


def _kill(process: int, *signalled: object) -> None:
    os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main()
