"""Read damaged files of a modality for long: ``python -m tests.fuzz --modality points --minutes 30``."""

import argparse
import itertools
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from maskkit.progress import clock
from tests.fuzz.campaign import Failure, Result, damaged, reader
from tests.fuzz.minimise import minimised
from tests.fuzz.seeds import WRITERS
from tests.fuzz.watch import Case, Reader

REGRESSIONS = Path(__file__).parent / "regressions"
SAID_EVERY = 10.0  # seconds between two lines of progress


def main() -> int:
    """Run, print a table for each modality, and keep minimised failures. Returns 1 if there were any."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--modality", choices=[*WRITERS, "all"], default="all")
    parser.add_argument("--minutes", type=float, default=10.0, help="the longest time for each modality")
    parser.add_argument("--files", type=int, help="the most files of each modality")
    parser.add_argument("--seed", type=int, default=0, help="another seed makes other files")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--keep", type=Path, default=REGRESSIONS, help="folder for minimised failures")
    asked = parser.parse_args()
    failed = False
    for modality in WRITERS if asked.modality == "all" else (asked.modality,):
        result = run(modality, asked.minutes * 60, asked.files, asked.seed, asked.first, asked.keep)
        print(f"\n{modality}: {result.total} files, {len(result.failures)} failures\n{result.table()}\n")
        failed |= bool(result.failures)
    return int(failed)


def run(modality: str, seconds: float, files: int | None, seed: int, first: int, folder: Path) -> Result:
    """Read damaged files for so long, or so many of them, and keep failures."""
    result, began, said = Result(), time.monotonic(), 0.0
    stop = None if files is None else first + files
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        with reader(modality, scratch) as child:
            for case in itertools.islice(damaged(modality, seed), first, stop):
                result.add(case, child.read(case))
                passed = time.monotonic() - began
                if passed - said > SAID_EVERY:
                    said = passed
                    print(_progress(modality, result, passed, seconds, files), file=sys.stderr, flush=True)
                if passed > seconds:
                    break
            keep(child, modality, result.failures, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return result


def _progress(modality: str, result: Result, passed: float, seconds: float, files: int | None) -> str:
    left = max(seconds - passed, 0)
    if files is not None:
        left = min(left, passed / result.total * (files - result.total))
    return f"{modality}: {result.total} files, {len(result.failures)} failures · {clock(left)} left"


def keep(child: Reader, modality: str, failures: list[Failure], where: Path) -> None:
    """Minimise one failure of each kind, and write it."""
    kinds: dict[str, Failure] = {}
    for failure in failures:
        kinds.setdefault(signature(failure), failure)
    counts = Counter(map(signature, failures))
    for kind, (case, outcome) in kinds.items():
        print(f"{counts[kind]} x {kind}: {outcome.detail}")
        content = minimised(case.content, partial(_fails, child, case, kind))
        folder = where / modality
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{outcome.kind.replace(' ', '-')}-{len(list(folder.iterdir()))}-{case.name}"
        file.write_bytes(content)
        print(f"  {file}: {len(content)} bytes, read as {case.setting}", flush=True)


def _fails(child: Reader, case: Case, kind: str, content: bytes) -> bool:
    """Return whether a file with this content fails in the same way."""
    return signature(Failure(case, child.read(case._replace(content=content)))) == kind


def signature(failure: Failure) -> str:
    """Return what two failures of one cause have in common: suffix, setting, and the message without numbers."""
    case, outcome = failure
    words = re.sub(r"\d+(\.\d+)?", "N", outcome.detail)[:60]
    return f"{Path(case.name).suffix} as {case.setting}, {outcome.kind} {words}"


if __name__ == "__main__":
    sys.exit(main())
