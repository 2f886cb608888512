"""A run: the settings that define it and the folder that holds it."""

import dataclasses
import importlib.metadata
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from maskkit.data.source import Source
from maskkit.engine.distributed import Sharding
from maskkit.engine.optim import AdamW
from maskkit.files import whole_file
from maskkit.model import MaskedModel
from maskkit.parts import describe
from maskkit.tokenizers import Tokenizer


class ModelSettings(Protocol):
    """Settings that build a model."""

    def build(self) -> MaskedModel:
        """Return the model, freshly started."""


class DataSettings(Protocol):
    """Settings that open a data set."""

    def at(self, root: str) -> "DataSettings":
        """Return the same settings for other files: what a trained model is measured on is read as it was trained."""

    def open(self, tokenizer: Tokenizer, *, train: bool) -> Source:
        """Return a source of samples that fit a tokenizer, with training or evaluation transforms."""


M = TypeVar("M")

D = TypeVar("D")


@dataclass(frozen=True, kw_only=True)
class Pretrain(Generic[M, D]):
    """Everything that defines a pretraining run."""

    model: M
    data: D
    out: Path = Path("runs/pretrain")
    """Folder of the run."""
    batch: int = 256
    """Samples per optimiser step, over all processes; it stays when their number changes."""
    micro_batch: int | None = None
    """Samples that a process works on at once; where a batch is more than all processes hold, gradients add up.
    Without it each process takes its whole share."""
    steps: int | None = None
    """Optimiser steps; takes precedence over epochs."""
    epochs: float = 100
    """Passes over the data."""
    warmup_epochs: float = 5
    """Passes during which the rate rises linearly; with --steps, scaled along."""
    optim: AdamW = field(default_factory=AdamW)
    min_lr: float = 0.0
    clip: float | None = None
    """Largest norm of the gradient."""
    ema: float | None = None
    """Decay of a moving average of the weights, such as 0.9999; kept beside the model."""
    precision: Literal["bf16", "fp32"] = "bf16"
    compile: bool = False
    """Compile each block with torch.compile."""
    recompute: bool = False
    """Keep only the input of each block and compute it again for the gradient: less memory, a third more time."""
    sharding: Sharding = "full"
    """Under torchrun, spread weights and optimiser over all processes (full), over those of a node, or copy them
    (none)."""
    seed: int = 0
    workers: int = 2
    """Processes that read samples."""
    device: str = "auto"
    log_every: int = 10
    save_every: int = 1000
    """Steps between checkpoints."""
    keep: int = 2
    """Newest checkpoints kept."""
    keep_every: int | None = None
    """Checkpoints of every so many steps are kept for good."""
    save_in_background: bool = False
    """Write checkpoints in a thread, from a copy in memory, while training goes on."""
    picture_every: int = 1000
    """Steps between picture grids."""
    max_bad: float = 0.05
    """Share of samples that may be broken before the run stops."""
    max_not_finite: int = 10
    """Steps in a row whose loss is not finite before the run goes back to its last checkpoint; each is left out."""
    max_rewinds: int = 3
    """How often it goes back, each time with another order of the data, before it stops."""
    resume: bool = False
    """Go on with the run in the folder; start it where there is none yet."""

    def __post_init__(self) -> None:
        """Check the settings that torch would only trip over later."""
        for name in ("batch", "micro_batch", "log_every", "save_every", "keep", "keep_every", "picture_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.epochs <= 0:
            raise ValueError(f"epochs must be positive, got {self.epochs}")

    @classmethod
    def restored(cls, record: Mapping[str, Any], model: type[M], data: type[D]) -> "Pretrain[M, D]":
        """Return the settings that a run's ``config.json`` holds, with classes for those of model and data."""
        parts = {"model": model, "data": data, "optim": AdamW}
        built: dict[str, Any] = {name: from_plain(kind, record[name]) for name, kind in parts.items()}
        return from_plain(cls, {**record, **built, "out": Path(record["out"])})

    def length(self, samples: int) -> tuple[int, int]:
        """Return the numbers of steps and of warm-up steps for a data set of so many samples."""
        steps = self.steps or max(1, round(self.epochs * samples / self.batch))
        return steps, round(steps * self.warmup_epochs / self.epochs)

    def micro(self, processes: int, before: int = 0) -> int:
        """Return the size of a micro-batch: as asked for, as ``before``, or an equal share of the batch.

        Masks and dropout belong to a micro-batch, so a run that keeps its size computes the same on any number of
        processes.
        """
        micro = min(self.micro_batch or before or self.batch // processes, self.batch)
        if micro == 0 or self.batch % (micro * processes):
            raise ValueError(
                f"batch {self.batch} in micro-batches of {micro} cannot be shared by {processes} processes; "
                "choose a --micro-batch that divides batch / processes"
            )
        return micro


@dataclass(frozen=True)
class RunFolder:
    """The files of a run; see ``config.json`` for how it came about."""

    path: Path

    def open(self, settings: Pretrain[Any, Any], model: MaskedModel, modality: str) -> None:
        """Make the folder and write ``config.json``. Refuses a folder that holds another run."""
        config = self.path / "config.json"
        if self.started:
            if not settings.resume:
                raise ValueError(f"{self.path} already holds a run; choose another --out, or continue it with --resume")
            before = json.loads(config.read_text())
            if before["model_parts"] != json.loads(json.dumps(describe(model))):
                raise ValueError(
                    f"{self.path} holds a run of another model; resume it with the settings in its config.json"
                )
            if before["settings"]["batch"] != settings.batch:
                raise ValueError(
                    f"{self.path} holds a run with batch {before['settings']['batch']}, not {settings.batch}; "
                    "resume it with the same"
                )
            return
        self.path.mkdir(parents=True, exist_ok=True)
        record = {
            "maskkit": importlib.metadata.version("maskkit"),
            "modality": modality,
            "command": sys.argv,
            "git": git_revision(),
            "versions": {name: importlib.metadata.version(name) for name in ("torch", "timm", "numpy")},
            "settings": plain(settings),
            "model_parts": describe(model),
        }
        write_text(config, json.dumps(record, indent=2) + "\n")

    @property
    def started(self) -> bool:
        """Whether it holds a run that got further than its settings; one that failed at its start may begin anew."""
        trained = any(self.checkpoints.glob("step-*")) or (self.metrics.exists() and self.metrics.stat().st_size > 0)
        return (self.path / "config.json").exists() and trained

    @property
    def metrics(self) -> Path:
        """One JSON object a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Whole checkpoints, one folder each."""
        return self.path / "checkpoints"

    @property
    def pictures(self) -> Path:
        """Reconstructions over time."""
        return self.path / "pictures"

    @property
    def skipped(self) -> Path:
        """Broken samples, one a line."""
        return self.path / "skipped.txt"

    @property
    def not_finite(self) -> Path:
        """Steps that were left out, one JSON object a line."""
        return self.path / "not_finite.jsonl"

    @property
    def model(self) -> Path:
        """The last, whole model."""
        return self.path / "model.safetensors"


def plain(value: Any) -> Any:
    """Return settings as plain JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def from_plain(kind: type[M], record: Mapping[str, Any]) -> M:
    """Return settings from plain JSON, which has lists for tuples."""
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in record.items()})


def git_revision() -> str | None:
    """Return the revision of the working folder's repository, marked where files differ from it."""
    git = shutil.which("git")
    if git is None:
        return None
    result = subprocess.run([git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return result.stdout.strip() or None


def write_text(path: Path, text: str) -> None:
    """Write a whole file or none."""
    with whole_file(path) as aside:
        aside.write_text(text)
