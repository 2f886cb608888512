"""The command line: the table of commands, and errors in one line."""

import errno
import importlib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from maskkit.modality import modality_names
from maskkit.printing import guard_logging, say

# On a CPU, loader workers share the cores with training. By default OpenMP's threads spin while they wait, which takes
# time from the workers: with one busy process a step of 516 ms took 2463 ms, and 877 ms when waiting threads sleep.
# OpenMP reads this variable once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {  # name: help; the module maskkit.commands.NAME is imported when the command runs
    "pretrain": "Pretrain a model on a data set.",
    "methods": "List the methods and the modalities that they run on.",
    "reconstruct": "Draw inputs, their visible parts and a trained model's reconstructions.",
    "embed": "Write the features of a data set to an .npz file.",
    "probe": "Measure the accuracy of k nearest neighbours and a linear classifier on frozen features.",
    "export": "Write a run's weights in the layout of timm, transformers or the authors' code.",
    "pack": "Pack files into tar shards, for large data sets or remote storage.",
    "transcode": "Copy a data set into a form that training reads faster.",
    "bench": "Measure this machine: training steps, memory, readers, the loop, kernels, imports.",
    "doctor": "Report what is installed, missing or broken, and how to fix it.",
}
# Errors of data and usage. A RuntimeError is one only if memory was refused, as torch reports it.
REFUSALS = (ValueError, OSError, FloatingPointError, MemoryError, RuntimeError)
# old name: new name; the old names will be removed in the next release
RENAMED = {"shard": "pack", "cache": "transcode"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 wrong usage or data, 3 stopped by a signal after saving.

    130 is an interruption before anything was to be saved, and 141 a reader of our output that has ended.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    return _guarded(lambda: _run(words), debug)


def run_recipe(body: Callable[[], object]) -> None:
    """Run the main function of a recipe with the one-line errors and exit codes of the commands."""
    code = _guarded(body, debug=False)
    if code:
        sys.exit(code)


def _run(words: list[str]) -> int:
    """Run a command and return its exit code."""
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(importlib.metadata.version("maskkit"))
        return 0
    name = RENAMED.get(words[0], words[0])
    if name != words[0]:
        say(f"maskkit {words[0]} is now maskkit {name}; the old name will be removed")
    if name not in COMMANDS:
        return _refuse(f"maskkit has no command {name!r}; it has {', '.join(COMMANDS)}")
    code: int = importlib.import_module(f"maskkit.commands.{name}").main(words[1:])
    return code


def _guarded(body: Callable[[], object], debug: bool) -> int:
    """Run a function and return its exit code. Errors of data and usage are printed in one line."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by whoever started us; files would take its place
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    guard_logging()
    try:
        code = _in_one_line(body, debug)
        sys.stdout.flush()
        return code
    except BrokenPipeError as error:
        return _broken_pipe(error)


def _in_one_line(body: Callable[[], object], debug: bool) -> int:
    try:
        code = body()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:
        raise
    except SystemExit as exit_:
        return _exit_code(exit_)
    except (*REFUSALS, ImportError) as error:
        if isinstance(error, ImportError) and (error.name or "").startswith("maskkit"):
            raise  # a defect of maskkit, and no missing library
        if isinstance(error, RuntimeError) and not _lacks_memory(error):
            raise
        if debug:
            for line in traceback.format_exc().splitlines():
                say(line)
        return _refuse(one_line(error))
    except KeyboardInterrupt:
        _refuse("interrupted")
        return 130  # as shells report SIGINT


def _exit_code(exit_: SystemExit) -> int:
    """Return the exit code as Python itself does, and print a message instead of one."""
    if exit_.code is None or isinstance(exit_.code, int):
        return exit_.code or 0
    return _refuse(str(exit_.code))


def _broken_pipe(error: BrokenPipeError) -> int:
    """Return 141, as for SIGPIPE, if the reader of our output, such as ``head``, has ended. Report all other cases."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at its exit
        return 141
    return _refuse(one_line(error))


def overview() -> str:
    """Return the text of ``maskkit --help``."""
    kinds = ", ".join(modality_names())
    lines = [f"maskkit pretrains models by hiding part of an input and predicting it ({kinds}).", "", "commands"]
    lines += [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [*lines, "", "maskkit COMMAND --help shows the options; --debug after any command shows tracebacks."]
    )


def one_line(error: BaseException) -> str:
    """Return an error as one line of text."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}" + ("; free some space" if error.errno == errno.ENOSPC else "")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk of the run; free some space, then continue with --resume"
    if _lacks_memory(error):
        return "there is not enough memory; choose a smaller --size, --batch or --micro-batch, or smaller inputs"
    return " ".join(str(error).split()) or type(error).__name__


def _lacks_memory(error: BaseException) -> bool:
    """Return whether memory was refused by numpy, by torch's CPU allocator or on a GPU."""
    refusals = ("can't allocate memory", "out of memory", "Storage size calculation overflowed")
    return isinstance(error, MemoryError) or any(text in str(error) for text in refusals)


def _refuse(message: str) -> int:
    try:
        say(f"maskkit: {message}")
    except BrokenPipeError:
        raise
    except OSError:  # its disk is full
        pass
    return 2


if __name__ == "__main__":
    sys.exit(main())
