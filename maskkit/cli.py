"""The command line: the table of commands, and the one line that an error becomes."""

import errno
import importlib
import importlib.metadata
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from maskkit.modality import modality_names

# Loader workers share the cores with a run on a CPU. OpenMP's threads spin while they wait, and take the time from the
# workers: one busy process turned a 516 ms step into 2463 ms, and into 877 ms when waiting threads sleep. OpenMP reads
# this once, when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

COMMANDS = {  # each is the module maskkit.commands.NAME, imported when it is asked for
    "pretrain": "Pretrain a model on a data set.",
    "methods": "List the methods and the kinds of data that they run on.",
    "reconstruct": "Draw what a trained model makes of inputs with parts hidden.",
    "embed": "Write the features of a data set to an .npz file.",
    "probe": "Measure frozen features with k nearest neighbours and a linear classifier.",
    "export": "Write a run's weights for timm, transformers or the authors' code.",
    "pack": "Pack files into tar shards, for data sets of many files or on remote storage.",
    "transcode": "Write copies of a data set that training reads faster.",
    "bench": "Time this machine: training steps, kernels, readers, imports.",
    "doctor": "Report what is installed, missing or broken, and how to mend it.",
}
RENAMED = {"shard": "pack", "cache": "transcode"}  # old name: new name; the old ones go with the next release


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[0] == "--version":
        print(importlib.metadata.version("maskkit"))
        return 0
    name = RENAMED.get(words[0], words[0])
    if name != words[0]:
        print(f"maskkit {words[0]} is now maskkit {name}; the old name will go", file=sys.stderr)
    if name not in COMMANDS:
        return _refuse(f"maskkit has no command {name!r}; it has {', '.join(COMMANDS)}")
    try:
        code: int = importlib.import_module(f"maskkit.commands.{name}").main(words[1:])
        return code
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    except (ValueError, OSError, FloatingPointError, ImportError) as error:
        if debug:
            traceback.print_exc()
        return _refuse(one_line(error))
    except KeyboardInterrupt:
        return _refuse("interrupted")


def run_recipe(body: Callable[[], object]) -> None:
    """Run a recipe's main part with the same one-line errors and exit codes as the commands."""
    try:
        body()
    except (ValueError, OSError, FloatingPointError) as error:
        sys.exit(_refuse(one_line(error)))


def overview() -> str:
    """Return what ``maskkit --help`` prints."""
    kinds = ", ".join(modality_names())
    lines = [f"maskkit pretrains models by hiding part of an input and predicting it ({kinds}).", "", "commands"]
    lines += [f"  {name:<12} {text}" for name, text in COMMANDS.items()]
    return "\n".join([*lines, "", "maskkit COMMAND --help says more; --debug after any command shows tracebacks."])


def one_line(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}" + ("; free some space" if error.errno == errno.ENOSPC else "")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "no space left on the disk of the run; free some space, then go on with --resume"
    return " ".join(str(error).split()) or type(error).__name__


def _refuse(message: str) -> int:
    print(f"maskkit: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
