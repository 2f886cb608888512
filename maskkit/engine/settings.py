"""A run as one object: the model, the data, the optimiser and everything else that defines it.

Recipes, flags, ``config.json`` and ``--config FILE`` hold these same fields.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import ClassVar, Generic, Literal, Protocol, TypeVar, cast

from maskkit.engine.device import best_precision, check_device
from maskkit.engine.distributed import Sharding
from maskkit.modality import DataSettings, Fit
from maskkit.model import MaskedModel
from maskkit.optim import AdamW, scaled_lr


class ModelSettings(Protocol):
    """Settings that build a model."""

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""


__all__ = ["DataSettings", "ModelSettings", "Pretrain", "changes", "fitted", "resumed"]

M = TypeVar("M", covariant=True)
D = TypeVar("D", covariant=True)

BATCH, EPOCHS, WARMUP = 256, 100.0, 0.05  # where nothing else is said; warm-up is a share of the run

# What may change when a run goes on: of what it computes, rounding at most.
MAY_CHANGE = (
    *("steps", "device", "workers", "log_every", "save_every", "keep", "keep_every", "save_in_background"),
    *("picture_every", "max_bad", "max_not_finite", "max_rewinds", "sharding", "recompute", "compile"),
)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Generic[M, D]):
    """Everything that defines a pretraining run. What is None is chosen to fit the method, the data and the machine."""

    model: M
    data: D
    out: Path = Path("runs/pretrain")
    """Folder of the run."""
    batch: int | None = None
    """Samples per optimiser step, over all processes; it stays when their number changes."""
    micro_batch: int | None = None
    """Samples that a process works on at once. Gradients of several add up where a batch does not fit into memory."""
    steps: int | None = None
    """Optimiser steps; takes precedence over epochs."""
    epochs: float | None = None
    """Passes over the data."""
    warmup_epochs: float | None = None
    """Passes during which the rate rises linearly; with --steps, scaled along. A twentieth of the run by default."""
    optim: AdamW = field(default_factory=AdamW)
    min_lr: float | None = None
    """Learning rate at the end of the run."""
    clip: float | None = None
    """Largest norm of the gradient."""
    ema: float | None = None
    """Decay of a moving average of the weights, such as 0.9999, which is kept beside the model."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bfloat16 autocast or float32; auto is bf16 where the hardware multiplies it fast."""
    compile: bool = False
    """Compile each block with torch.compile."""
    recompute: bool = False
    """Save memory: keep only the input of each block and compute it again for the gradient. A third more time."""
    sharding: Sharding = "full"
    """Under torchrun: spread weights and optimiser over all processes, over those of a node, or copy them (none)."""
    seed: int = 0
    """Seed of everything random."""
    workers: int = 2
    """Processes that read samples."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    log_every: int = 10
    """Steps between rows of metrics."""
    save_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Number of newest checkpoints kept."""
    keep_every: int | None = None
    """Checkpoints of every so many steps are kept for good."""
    save_in_background: bool = False
    """Write checkpoints in a thread, from a copy in memory, while training goes on."""
    picture_every: int = 1000
    """Steps between figures of reconstructions."""
    max_bad: float = 0.05
    """Share of samples that may be broken before the run stops."""
    max_not_finite: int = 10
    """Steps in a row whose loss is not finite before the run goes back to its last checkpoint; each is left out."""
    max_rewinds: int = 3
    """How often the run goes back, each time with another order of the data, before it stops."""
    resume: bool = False
    """Go on with the run in --out, with its own settings; start it where there is none yet."""

    may_be_zero: ClassVar[tuple[str, ...]] = ("workers", "max_rewinds", "max_not_finite")

    def __post_init__(self) -> None:
        """Check the settings that torch would only trip over later."""
        for each in fields(self):
            value = getattr(self, each.name)
            least = 0 if each.name in self.may_be_zero else 1
            whole = type(value) is int and each.type in ("int", "int | None", int, int | None)
            if whole and each.name != "seed" and value < least:
                raise ValueError(f"--{each.name.replace('_', '-')} must be at least {least}, got {value}")
        if self.epochs is not None and self.epochs <= 0:
            raise ValueError(f"--epochs must be positive, got {self.epochs}")

    def check(self) -> None:
        """Raise ValueError for what can be told before thousands of files are looked at."""
        check_device(self.device)

    def completed(self, samples: int) -> "Pretrain[M, D]":
        """Return the settings with a number in place of every None that the loop needs, for so many samples."""
        batch = BATCH if self.batch is None else self.batch
        epochs = EPOCHS if self.epochs is None else self.epochs
        default = AdamW(lr=scaled_lr(1.5e-4, batch))
        suits: Callable[[int], AdamW] | None = getattr(self.model, "optim", None)
        if suits is not None:
            default = suits(batch).over(default)
        return replace(
            self,
            batch=batch,
            epochs=epochs,
            warmup_epochs=WARMUP * epochs if self.warmup_epochs is None else self.warmup_epochs,
            optim=self.optim.over(default),
            min_lr=getattr(self.model, "min_lr", 0.0) if self.min_lr is None else self.min_lr,
            precision=best_precision() if self.precision == "auto" else self.precision,
        )

    def length(self, samples: int) -> tuple[int, int]:
        """Return the numbers of steps and of warm-up steps for a data set of so many samples."""
        batch = BATCH if self.batch is None else self.batch
        epochs = EPOCHS if self.epochs is None else self.epochs
        steps = self.steps or max(1, round(epochs * samples / batch))
        warmup = WARMUP * epochs if self.warmup_epochs is None else self.warmup_epochs
        return steps, round(steps * warmup / epochs)

    def micro(self, processes: int, before: int = 0) -> int:
        """Return the size of a micro-batch: as asked for, as ``before``, or an equal share of the batch.

        Masks and dropout belong to a micro-batch, so a run that keeps its size computes the same on any number of
        processes.
        """
        batch = BATCH if self.batch is None else self.batch
        micro = min(self.micro_batch or before or batch // processes, batch)
        if micro == 0 or batch % (micro * processes):
            raise ValueError(
                f"batch {batch} in micro-batches of {micro} cannot be shared by {processes} processes; "
                "choose a --micro-batch that divides batch / processes"
            )
        return micro


def fitted(settings: Pretrain[M, D], fit: Fit, say: Callable[[str], None]) -> Pretrain[M, D]:
    """Return the settings with what is None chosen to fit the data and the machine, and say what was chosen."""
    batch = min(fit.samples, fit.batch) if settings.batch is None else settings.batch
    steps = settings.steps
    if steps is None and settings.epochs is None:
        steps = max(500, min(100 * fit.samples // max(batch, 1), 20_000))
    chosen = replace(settings, model=cast(M, fit.model), data=cast(D, fit.data), batch=batch, steps=steps).completed(
        fit.samples
    )
    length = f"{steps} steps" if steps is not None else f"{settings.epochs:g} epochs"
    say(f"chosen: {fit.summary}, batch {batch}, {length}, peak lr {chosen.optim.lr:.2g}, {chosen.precision}")
    return chosen


def changes(before: object, after: object, prefix: str = "") -> dict[str, tuple[object, object]]:
    """Return every field in which two settings differ, by its dotted name, with both values."""
    found: dict[str, tuple[object, object]] = {}
    if type(before) is not type(after) or not is_dataclass(before) or isinstance(before, type):
        return {} if before == after else {prefix: (before, after)}
    for each in fields(before):
        name = f"{prefix}.{each.name}" if prefix else each.name
        found |= changes(getattr(before, each.name), getattr(after, each.name), name)
    return found


def resumed(run: Pretrain[M, D], asked: Pretrain[M, D], say: Callable[[str], None]) -> Pretrain[M, D]:
    """Return the settings to go on with: the run's own, and of what was asked for what may change in a run.

    Says what else was asked for in vain. ``asked`` are the run's settings with changes.
    """
    differing = changes(run, asked)
    root = differing.pop("data.root", None)
    for name in ("out", "resume"):
        differing.pop(name, None)
    vain = [name for name in differing if name not in MAY_CHANGE]
    if vain:
        listed = ", ".join(f"--{_flag(name)} (the run has {_words(differing[name][0])})" for name in vain)
        say(f"a run keeps its settings; not used: {listed}")
    kept = {name: getattr(asked, name) for name in differing if name in MAY_CHANGE}
    data = run.data
    if root is not None:
        say(
            f"data: {root[1]}, where the run had {root[0]}; the run goes on exactly only with the same samples in order"
        )
        data = replace(data, root=root[1])  # type: ignore[type-var]  # settings of data are dataclasses
    return replace(run, **kept, data=data, out=asked.out, resume=True)


def _words(value: object) -> str:
    """Return a value as it is written on the command line."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _flag(name: str) -> str:
    """Return a field's name as the command line has it."""
    return name.rpartition(".")[2].replace("_", "-")
