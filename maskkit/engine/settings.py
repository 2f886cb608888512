"""The settings of a run: the model, the data, the optimiser and the training loop.

Recipes, command-line flags, ``config.json`` and ``--config FILE`` all use these fields.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Generic, Literal, Protocol, TypeVar, cast

from maskkit.engine.device import best_precision, check_device
from maskkit.engine.distributed import Sharding
from maskkit.modality import DataSettings, Fit
from maskkit.model import MaskedModel
from maskkit.optim import AdamW, scaled_lr
from maskkit.ranges import (
    MANY,
    Count,
    CountOrZero,
    NotNegative,
    Part,
    Positive,
    Processes,
    Range,
    Samples,
    Seed,
    Share,
    check_ranges,
)


class ModelSettings(Protocol):
    """Settings that build a model."""

    def build(self) -> MaskedModel:
        """Return the model with newly initialised weights."""


__all__ = ["DataSettings", "ModelSettings", "Pretrain", "changes", "fitted", "resumed"]

M = TypeVar("M", covariant=True)
D = TypeVar("D", covariant=True)

BATCH, EPOCHS, WARMUP = 256, 100.0, 0.05  # defaults; the warm-up is a share of the run

# Settings that may change when a run is resumed. They do not change what it computes, except for rounding.
MAY_CHANGE = (
    *("steps", "device", "workers", "log_every", "save_every", "keep", "keep_every", "save_in_background"),
    *("picture_every", "max_bad", "max_not_finite", "max_rewinds", "sharding", "recompute", "compile"),
)


@dataclass(frozen=True, kw_only=True)
class Pretrain(Generic[M, D]):
    """Settings of a pretraining run. A value of None is chosen to fit the method, the data and the machine."""

    model: M
    data: D
    out: Path = Path("runs/pretrain")
    """Folder to write the run to."""
    batch: Samples | None = None
    """Global batch size: samples per optimiser step, summed over all processes."""
    micro_batch: Samples | None = None
    """Samples per forward pass on one process. Gradients accumulate over several micro-batches if a batch is larger."""
    steps: Count | None = None
    """Number of optimiser steps. Takes precedence over --epochs."""
    epochs: Annotated[float, Range(above=0, most=MANY)] | None = None
    """Number of passes over the data."""
    warmup_epochs: Annotated[float, Range(least=0, most=MANY)] | None = None
    """Epochs of linear warm-up of the learning rate, scaled with --steps. By default 5 % of the run."""
    optim: AdamW = field(default_factory=AdamW)
    min_lr: NotNegative | None = None
    """Learning rate at the end of the run. By default the method's, or 0."""
    clip: Positive | None = None
    """Maximum norm of the gradient; larger gradients are scaled down. By default there is no limit."""
    ema: Share | None = None
    """Decay of an exponential moving average of the weights, such as 0.9999. By default no average is kept."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 (autocast) or fp32. auto selects bf16 if the hardware multiplies bfloat16 fast."""
    compile: bool = False
    """Compile each block with torch.compile."""
    recompute: bool = False
    """Recompute activations in the backward pass (activation checkpointing). Saves memory, takes a third more time."""
    sharding: Sharding = "full"
    """Under torchrun: shard weights and optimiser over all processes (full) or within a node, or replicate them
    (none)."""
    seed: Seed = 0
    """Seed of all random choices."""
    workers: Processes = 2
    """Number of worker processes that read samples."""
    device: str = "auto"
    """cpu, cuda, or auto, which selects a GPU if one is available."""
    log_every: Count = 10
    """Number of steps between rows of metrics.jsonl."""
    save_every: Count = 1000
    """Number of steps between checkpoints."""
    keep: Count = 2
    """Number of most recent checkpoints to keep."""
    keep_every: Count | None = None
    """Keep the checkpoint of every N-th step permanently."""
    save_in_background: bool = False
    """Write checkpoints in a background thread, from a copy of the weights in memory."""
    picture_every: Count = 1000
    """Number of steps between figures of reconstructions."""
    max_bad: Part = 0.05
    """Share of unreadable samples, in [0, 1], above which the run stops."""
    max_not_finite: Count = 10
    """Consecutive steps with a non-finite loss after which the run returns to its last checkpoint. Such steps are
    skipped."""
    max_rewinds: CountOrZero = 3
    """Number of times that the run returns to a checkpoint, with a new order of the data, before it stops."""
    resume: bool = False
    """Continue the run in --out with its own settings. Starts a new run if there is none."""

    def __post_init__(self) -> None:
        """Validate settings that would otherwise fail later inside torch."""
        check_ranges(self)

    def check(self) -> None:
        """Check the device before the data set is opened. Raises ValueError if it cannot be used."""
        check_device(self.device)

    def completed(self, samples: int) -> "Pretrain[M, D]":
        """Return the settings for a data set of ``samples``, with numbers for every None that the loop needs."""
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
        """Return the numbers of steps and of warm-up steps for a data set of ``samples``."""
        batch = BATCH if self.batch is None else self.batch
        epochs = EPOCHS if self.epochs is None else self.epochs
        steps = self.steps or max(1, round(epochs * samples / batch))
        warmup = WARMUP * epochs if self.warmup_epochs is None else self.warmup_epochs
        return steps, round(steps * warmup / epochs)

    def micro(self, processes: int, before: int = 0) -> int:
        """Return the size of a micro-batch: ``micro_batch``, ``before``, or an equal share of the batch.

        Masks and dropout are drawn per micro-batch, so a run with a constant size computes the same on any number of
        processes. Raises ValueError if the processes cannot share the batch equally.
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
    """Return the settings with every None replaced by a value that fits the data and the machine, and report them."""
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
    """Return the settings of a resumed run: its own, with the requested changes that are allowed (``MAY_CHANGE``).

    ``asked`` are the run's settings with the requested changes. Changes that are not used are reported.
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
        say(f"data: {root[1]}, where the run had {root[0]}; it resumes exactly only with the same samples in order")
        data = replace(data, root=root[1])  # type: ignore[type-var]  # settings of data are dataclasses
    return replace(run, **kept, data=data, out=asked.out, resume=True)


def _words(value: object) -> str:
    """Return a value in the notation of the command line."""
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _flag(name: str) -> str:
    """Return the name of the flag of a field."""
    return name.rpartition(".")[2].replace("_", "-")
