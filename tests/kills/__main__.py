"""Kill a run at random moments and resume it each time, until it ends as an unbroken one, to the bit.

    python -m tests.kills --modality image --kills 100

Half of the kills fall into a run that saves in the background. What is told of each kill is what lies in the folder.
"""

import argparse
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from processes import run_one, start  # noqa: E402
from small import Tiny, metrics, run_settings, same_weights  # noqa: E402

from maskkit.engine.checkpoints import all_checkpoints  # noqa: E402
from maskkit.engine.manifest import find_damage  # noqa: E402
from maskkit.modality import find_modality  # noqa: E402

KEYS = {"image": "images", "video": "videos", "audio": "data", "points": "points"}  # of arrays in a file
ALLOWED = re.compile(
    r"(config\.json|metrics\.jsonl|(model|ema)\.safetensors|tensorboard(/events\.out\.tfevents\.[\w.-]+)?|"
    r"pictures(/step-\d{8}\.\w+)?|checkpoints(/step-\d{8}(/(manifest\.json|shard-[\w-]+\.safetensors))?)?)"
)


def settings_of(modality, folder, steps):
    """Return the settings of a small run on built-in samples, which saves at every other step."""
    found = find_modality(modality)
    batch = found.sample(64).numpy()
    np.savez(folder / "data.npz", **{KEYS[modality]: batch[:, 0] if modality == "audio" else batch})
    settings = replace(run_settings(folder / "data.npz", folder / "whole"), steps=steps, save_every=2, ema=0.9)
    settings = replace(settings, batch=8, picture_every=steps, device="cpu", keep=2)
    if modality == "image":
        return settings
    options = {"video": {"stride": 1, "crop": "centre"}}.get(modality, {})
    return replace(settings, model=Tiny(modality), data=found.data(root=str(folder / "data.npz"), **options))


def last_step(out):
    """Return the step of the newest checkpoint, 0 without one."""
    return max([int(path.name[5:]) for path in all_checkpoints(out / "checkpoints")], default=0)


def live(process, out, steps, rng, at_end):
    """Wait for a random moment: at the start, in a step, as soon as a checkpoint is written, or at the end."""
    kind = "end" if at_end else rng.choice(["start", "steps", "steps", "writing", "writing"])
    begun = last_step(out)
    if kind == "start":
        process.join(rng.uniform(0, 2))
    while process.exitcode is None and kind != "start":
        if kind == "end" and last_step(out) == steps:
            break
        if kind == "steps" and last_step(out) > begun:
            break
        if kind == "writing" and last_step(out) > begun and list((out / "checkpoints").glob(".step-*")):
            break
        time.sleep(0.0005)
    process.join(rng.uniform(0, {"end": 0.1, "writing": 0.01}.get(kind, 0.1)))


def phase(out, steps):
    """Return in which phase a process was killed, by what it left behind."""
    hidden = [path.name for path in (*out.glob(".*.part"), *(out / "checkpoints").glob(".*"))]
    if any(name.endswith(".dropped") for name in hidden):
        return "deleting an old checkpoint"
    if any(name.startswith(".step-") for name in hidden):
        return "writing a checkpoint"
    if any("safetensors" in name for name in hidden) or last_step(out) == steps:
        return "at the end"
    return "starting or in a step" if last_step(out) else "before the first checkpoint"


def broken(settings, background, kills, rng, say):
    """Kill and resume a run until it ends; returns the phases of the kills, the steps resumed from, and those lost."""
    out, steps = settings.out, settings.steps
    settings = replace(settings, resume=True, save_in_background=background)
    phases, resumed, lost, began = Counter(), [], [], time.monotonic()
    while True:
        workers = rng.choice([0, 0, 1, 2])
        process = start(run_one, replace(settings, workers=workers), None, say.modality)
        if phases.total() < kills:
            live(process, out, steps, rng, at_end=phases.total() >= kills - max(1, kills // 10))
        else:
            process.join(300)
        if process.exitcode is not None:
            assert process.exitcode == 0, f"exit code {process.exitcode}"
            if phases.total() >= kills:
                return phases, resumed, lost
            continue  # it ended before the blow: a complete run is resumed, too
        process.kill()
        process.join()
        assert all(find_damage(path) is None for path in all_checkpoints(out / "checkpoints"))
        phases[phase(out, steps)] += 1
        rows = (out / "metrics.jsonl").read_text().splitlines() if (out / "metrics.jsonl").exists() else []
        done = [json.loads(row)["step"] for row in rows if row.endswith("}")]
        resumed.append(last_step(out))
        lost.append(max(0, (done[-1] if done else 0) - last_step(out)))
        say(phases.total(), kills, last_step(out), (time.monotonic() - began) / phases.total())


class Say:
    """Prints progress with the time left."""

    def __init__(self, modality, way):
        self.modality, self.way = modality, way

    def __call__(self, done, kills, step, seconds):
        left = seconds * (kills - done)
        print(f"{self.modality} {self.way}: kill {done}/{kills} after step {step} · {left:.0f} s left", flush=True)


def strays(out):
    """Return what lies in the folder of a run and does not belong there."""
    names = [path.relative_to(out).as_posix() for path in out.rglob("*")]
    return sorted(name for name in names if not ALLOWED.fullmatch(name))


def experiment(modality, kills, seed, folder):
    """Compare an unbroken run with two broken ones, and print a table of figures."""
    each = kills // 2
    settings = settings_of(modality, folder, steps=6 * each + 10)
    whole = start(run_one, settings, None, modality)
    whole.join()
    assert whole.exitcode == 0
    for background in (False, True):
        way, rng = ("in the background" if background else "in the foreground"), random.Random(f"{seed} {background}")
        run = replace(settings, out=folder / way.replace(" ", "-"))
        phases, resumed, lost = broken(run, background, each, rng, Say(modality, way))
        equal = same_weights(run.out, settings.out) and metrics(run.out) == metrics(settings.out)
        print(f"\n{modality}, saved {way}: {phases.total()} kills in {settings.steps} steps")
        for name, count in phases.most_common():
            print(f"  {name:<28}{count:>4}")
        print(f"  resumed from steps          {min(resumed)} to {max(resumed)}, {len(set(resumed))} different ones")
        print(f"  steps lost                  {sum(lost)}, at most {max(lost)} at a time")
        print(f"  weights and metrics equal   {'yes' if equal else 'NO'}")
        print(f"  stray files                 {', '.join(strays(run.out)) or 'none'}\n", flush=True)
        assert equal and not strays(run.out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modality", choices=KEYS, default="image")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    experiment(asked.modality, asked.kills, asked.seed, folder)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
