"""The step time of the published presets at two revisions: one process each, steps in alternation."""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Self

import maskkit
from maskkit.bench.workload import Preset, find_workload
from maskkit.modality import find_modality, modality_names

WORKER = Path(__file__).with_name("worker.py")
WARM_UP = 2  # steps


def compare(
    revision: str, *, work: str | None, method: str | None, repeats: int, precision: str, device: str
) -> dict[str, dict[str, object]]:
    """Time the presets of a modality, or of all, here and at ``revision``; returns a row a preset.

    ``ratio`` is the median over ``repeats`` rounds of the time here divided by the time there. Both use torch's AdamW,
    so the engine's optimiser is left out. Raises ValueError if the two revisions build different models.
    """
    presets = find_presets(work, method)
    rows: dict[str, dict[str, object]] = {}
    with checkout(revision) as tree:
        print(f"{'preset':<18} {'here':>10} {revision[:12]:>12}   ratio (median of {repeats})   loss")
        for preset in presets:
            with Worker(preset, None, precision, device) as here, Worker(preset, tree, precision, device) as there:
                if here.parameters != there.parameters:
                    raise ValueError(
                        f"{preset.name} has {here.parameters} weights here and {there.parameters} at {revision}; "
                        "the two cannot be compared"
                    )
                rows[preset.name] = row = alternate_workers(here, there, repeats)
            same = "equal" if row["loss_here"] == row["loss_there"] else f"{row['loss_here']} and {row['loss_there']}"
            print(
                f"{preset.name:<18} {row['here']:8.3f} s {row['there']:10.3f} s   {row['ratio']:.3f}{'':<18} {same}",
                flush=True,
            )
    return rows


def find_presets(work: str | None, method: str | None) -> list[Preset]:
    """Return the presets of one modality, or of all that have a benchmark, and of one method where it is named."""
    names = [work] if work else [name for name in modality_names() if find_modality(name).bench is not None]
    presets = [preset for name in names for preset in find_workload(name).presets]
    chosen = [preset for preset in presets if method in (None, preset.function, preset.name)]
    if not chosen:
        raise ValueError(f"--method {method} is none of the presets {', '.join(preset.function for preset in presets)}")
    return chosen


@contextmanager
def checkout(revision: str) -> Iterator[Path]:
    """Write the sources of a revision into a temporary folder that can stand on the path of Python."""
    root = Path(maskkit.__file__).parents[1]
    command = ["git", "-C", str(root), "archive", "--format=tar", revision, "maskkit", "modalities"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.decode().strip().splitlines() or ["git gave no reason"])[-1]
        raise ValueError(f"revision {revision} cannot be read from {root}: {reason}")
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(fileobj=BytesIO(done.stdout)) as tar:
            tar.extractall(folder, filter="data")
        tree = Path(folder)
        (tree / "modalities").rename(tree / "maskkit" / "modalities")  # as the package is installed
        yield tree


class Worker:
    """A process that takes one training step of a preset whenever it is asked to.

    ``tree`` is the folder of another revision's sources, or None for this one. ``loss`` is that of the first step,
    ``parameters`` the number of weights.
    """

    def __init__(self, preset: Preset, tree: Path | None, precision: str, device: str) -> None:
        task = {**dataclasses.asdict(preset), "precision": precision, "device": device}
        task["tree"] = None if tree is None else str(tree)
        # A thread of OpenMP that waits must sleep, or it takes time from the other process.
        environment = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        if tree is not None:
            environment["PYTHONPATH"] = str(tree)
        # -P keeps this file's folder, whose names are those of other modules, out of the path.
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(WORKER), json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.name = f"{preset.name} {'here' if tree is None else 'there'}"
        first = self._read()
        self.parameters, self.loss = int(first["parameters"]), float(first["loss"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def step(self) -> float:
        """Take a step; returns the seconds that it took."""
        assert self.process.stdin is not None
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self._read()["seconds"])

    def _read(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            error = self.process.communicate()[1].strip().splitlines() or ["no reason given"]
            raise ValueError(f"the process of {self.name} ended: {error[-1]}")
        answer: dict[str, float] = json.loads(line)
        return answer


def alternate_workers(here: Worker, there: Worker, repeats: int) -> dict[str, object]:
    """Step in turn, the first one of a round changing each time; returns medians in seconds, and of the ratios."""
    times: dict[Worker, list[float]] = {here: [], there: []}
    for turn in range(repeats + WARM_UP):
        for worker in (here, there) if turn % 2 == 0 else (there, here):
            seconds = worker.step()
            if turn >= WARM_UP:
                times[worker].append(seconds)
    ratios = [a / b for a, b in zip(times[here], times[there], strict=True)]
    return {
        "here": statistics.median(times[here]),
        "there": statistics.median(times[there]),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "loss_here": here.loss,
        "loss_there": there.loss,
    }
