"""``maskkit bench loop``: overhead of the training loop."""

import contextlib
import io
import json
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from maskkit.bench.workload import Preset, find_workload
from maskkit.methods import methods_of
from maskkit.modality import find_modality
from maskkit.ranges import Count, Samples

if TYPE_CHECKING:
    import torch

    from maskkit.data.source import Key


@dataclass(frozen=True, kw_only=True)
class Loop:
    """Measure the overhead of the training loop over a bare step (seeds, norms, checks, logs), and of a checkpoint."""

    work: str = "image"
    """Modality whose default method is trained, in float32."""
    size: str | None = None
    """Size of the model, if the method has sizes."""
    batch: Samples = 8
    """Samples per step."""
    steps: Count = 4
    """Number of consecutive timed steps, after one warm-up step."""
    rounds: Count = 5
    """Number of alternations of bare steps and the loop. Medians are reported."""

    def run(self) -> None:
        """Time and print."""
        from maskkit.engine.device import keep_freed_memory

        keep_freed_memory()
        preset = find_workload(self.work).presets[0]
        if self.size is not None:
            preset = replace(preset, arguments={**preset.arguments, "size": self.size})
        bares, loops = [], []
        for _ in range(self.rounds):
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
                bares.append(bare_steps(preset, Path(folder) / "checkpoints", self.batch, self.steps))
                loops.append(looped_steps(preset, Path(folder) / "run", self.batch, self.steps))
        one, saving, megabytes = (statistics.median(column) for column in zip(*bares, strict=True))
        other = statistics.median(loops)
        name = f"{preset.name}{f' {self.size}' if self.size else ''}"
        print(f"{name}, batch {self.batch}, fp32: bare step {one * 1e3:.1f} ms, in the loop {other * 1e3:.1f} ms")
        print(f"the loop adds {other / one - 1:+.1%}; a checkpoint of {megabytes:.0f} MB takes {saving:.2f} s")


def bare_steps(preset: Preset, folder: Path, batch: int, steps: int) -> tuple[float, float, float]:
    """Return seconds a step, seconds to write a checkpoint, and its size in 10^6 bytes."""
    import torch

    from maskkit.engine.checkpoints import Checkpoints, TrainState
    from maskkit.engine.distributed import World
    from maskkit.engine.manifest import Progress
    from maskkit.optim import AdamW

    model, sample = preset.build().train(), preset.batch()[0]
    optimizer = AdamW(lr=1e-5).build(model)
    for step in range(steps + 1):
        if step == 1:
            began = time.perf_counter()
        model(torch.stack([sample] * batch)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    took = (time.perf_counter() - began) / steps
    checkpoints = Checkpoints(folder, World(torch.device("cpu")))
    checkpoints.save(TrainState(model, optimizer, None), Progress(step=1))
    return took, checkpoints.seconds, sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6


def looped_steps(preset: Preset, folder: Path, batch: int, steps: int) -> float:
    """Return the seconds that a step takes inside the training loop."""
    from maskkit.engine.loop import train
    from maskkit.engine.settings import Pretrain

    found = find_modality(preset.name.split(".")[0])
    settings = Pretrain(
        model=next(iter(methods_of(found).values()))(),  # named in config.json; the model trained is the preset's
        data=found.data(root="none"),  # type: ignore[call-arg]  # settings of data have a root
        out=folder,
        batch=batch,
        steps=steps + 1,
        precision="fp32",
        workers=0,
        log_every=1,
        device="cpu",
    )
    train(preset.build(), _Ready(preset.batch()[0]), settings, modality=found.name)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sum(batch / float(line["samples_per_second"]) for line in lines[1:]) / steps


@dataclass(frozen=True)
class _Ready:
    """A source of samples that cost nothing to read."""

    sample: "torch.Tensor"

    def __len__(self) -> int:
        return 4096

    @property
    def repeats(self) -> int:
        """1: each sample is one."""
        return 1

    def read(self, key: "Key", rng: "torch.Generator") -> "torch.Tensor":
        """Return the one sample."""
        return self.sample

    def path(self, index: int) -> str:
        """Return the index as a name."""
        return str(index)

    def label(self, index: int) -> str | None:
        """Return that there is no class."""
        return None
