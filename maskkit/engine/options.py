"""What the pretraining commands of all modalities have in common: a modality's ``Command`` begins with these."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from maskkit.engine.device import best_precision, check_device
from maskkit.engine.distributed import Sharding
from maskkit.engine.optim import AdamW
from maskkit.engine.run import Pretrain, plain

M = TypeVar("M")
D = TypeVar("D")

MAY_BE_ZERO = ("workers", "max_rewinds", "max_not_finite")
MAY_CHANGE = (  # when a run goes on; of what it computes, rounding at most
    *("steps", "device", "workers", "log_every", "save_every", "keep", "keep_every", "save_in_background"),
    *("picture_every", "max_bad", "max_not_finite", "max_rewinds", "sharding", "recompute", "compile"),
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a run. What is None is chosen to fit the data and the machine."""

    data: str
    """Folder (searched through), glob, list file, array or tar shards, or several: 0.7*path/a + 0.3*path/b."""
    out: Path
    """Folder for the run."""
    steps: int | None = None
    """Optimiser steps."""
    epochs: float | None = None
    """Passes over the data, where --steps is not given."""
    batch: int | None = None
    """Samples per step, over all processes."""
    micro_batch: int | None = None
    """Samples that a process works on at once, where a batch does not fit into memory."""
    lr: float | None = None
    """Peak learning rate."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    clip: float | None = None
    """Largest norm of the gradient."""
    ema: float | None = None
    """Decay of a moving average of the weights, kept beside the model."""
    compile: bool = False
    """Compile the blocks with torch.compile."""
    recompute: bool = False
    """Save memory by computing each block again for the gradient."""
    sharding: Sharding = "full"
    """Under torchrun: spread weights over all processes, over those of a node, or copy them."""
    workers: int = 2
    """Processes that read samples."""
    seed: int = 0
    device: str = "auto"
    log_every: int = 10
    save_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints kept."""
    keep_every: int | None = None
    """Checkpoints of every so many steps are kept for good."""
    save_in_background: bool = False
    """Write checkpoints while training goes on."""
    picture_every: int = 1000
    """Steps between picture grids."""
    max_bad: float = 0.05
    """Share of samples that may be broken before the run stops."""
    max_not_finite: int = 10
    """Steps in a row without a finite loss before the run goes back to its last checkpoint."""
    max_rewinds: int = 3
    """How often it goes back before it stops."""
    resume: bool = False
    """Continue the run in --out with its own settings; --steps may move its end, --device, --workers, --max-bad and
    what else touches no more than rounding may change."""

    def check(self) -> None:
        """Raise ValueError for what can be told before thousands of files are looked at."""
        for each in fields(self):
            value, least = getattr(self, each.name), 0 if each.name in MAY_BE_ZERO else 1
            if type(value) is int and each.name != "seed" and value < least:
                raise ValueError(f"--{each.name.replace('_', '-')} must be at least {least}, got {value}")
        check_device(self.device)

    def resumed(self, settings: Pretrain[M, D], say: Callable[[str], None]) -> Pretrain[M, D]:
        """Return the settings to go on with: the run's own, but for what may change in the middle of one.

        Says what else was asked for in vain.
        """
        asked = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        root = getattr(settings.data, "root", self.data)
        if self.data != root:
            say(f"data: {self.data}, where the run had {root}; the same samples in the same order, or they change here")
            settings = replace(settings, data=replace(settings.data, root=self.data))  # type: ignore[type-var]
        kept = {**plain(settings.data), **plain(settings.model), **plain(settings), "lr": settings.optim.lr}
        changed = {name: value for name, value in asked.items() if name in MAY_CHANGE}
        if str(asked.get("preset")).endswith(str(kept.get("size"))):
            kept["preset"] = asked.get("preset")
        vain = [
            f"--{name.replace('_', '-')}" + (f" (the run has {kept[name]})" if name in kept else "")
            for name, value in asked.items()
            if name not in ("data", "out", "resume", *MAY_CHANGE) and kept.get(name) not in (plain(value), [value] * 2)
        ]
        if vain:
            say(f"a run keeps its settings; not used: {', '.join(vain)}")
        return replace(settings, **changed, out=self.out, resume=True)

    def complete(
        self,
        model: M,
        data: D,
        *,
        samples: int,
        batch: int,
        lr: Callable[[int], float],
        what: str,
        say: Callable[[str], None],
        optim: AdamW | None = None,
    ) -> Pretrain[M, D]:
        """Return the settings of a run, saying what was chosen.

        ``batch`` is the one that suits where none is asked for; ``lr`` gives the peak rate for a batch; ``what`` names
        the model; ``optim`` holds other settings of the optimiser.
        """
        batch = min(samples, batch) if self.batch is None else self.batch
        steps = self.steps
        if steps is None and self.epochs is None:
            steps = max(500, min(100 * samples // max(batch, 1), 20_000))
        rate = lr(batch) if self.lr is None else self.lr
        epochs = 100 if self.epochs is None else self.epochs
        precision = best_precision() if self.precision == "auto" else self.precision
        length = f"{steps} steps" if steps is not None else f"{epochs:g} epochs"
        say(f"chosen: {what}, batch {batch}, {length}, peak lr {rate:.2g}, {precision}")
        same = {f.name: getattr(self, f.name) for f in fields(Pretrain) if hasattr(self, f.name)}
        chosen: dict[str, Any] = {"model": model, "data": data, "optim": replace(optim or AdamW(), lr=rate)}
        chosen |= {"batch": batch, "steps": steps, "epochs": epochs, "precision": precision}
        return Pretrain(**{**same, **chosen, "warmup_epochs": 0.05 * epochs})
