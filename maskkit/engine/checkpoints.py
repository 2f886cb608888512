"""The state of a run on disk: everything that the next step depends on, complete or absent.

A checkpoint is a folder: what each process holds of the weights, of the optimiser and of the average, in safetensors,
written by torch.distributed.checkpoint, so that any other number of processes can read it; and ``manifest.json`` with
the numbers of the run, and the size and checksum of every file. It is written beside its place, flushed to disk and
renamed. All of it is tensors and JSON: reading it back runs no code. (DCP's own format keeps a pickle.)

No random generator is in it, because none outlives a micro-batch: each is seeded from (seed, step, micro-batch).
"""

import contextlib
import os
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save
from torch.distributed.tensor import DTensor

from maskkit.engine.distributed import World
from maskkit.engine.manifest import Progress, find_damage, read_progress, seal
from maskkit.files import short_reason, sync
from maskkit.model import MaskedModel
from maskkit.optim import EMA


@dataclass
class TrainState:
    """What a step changes."""

    model: MaskedModel
    optimizer: torch.optim.Optimizer
    average: EMA | None
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor under the name it has in a checkpoint."""
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.average.weights.items()}
        for name, parameter in self.model.named_parameters():
            for kind, tensor in self.optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{name}:{kind}"] = tensor
        return found

    def make_room(self, names: Mapping[str, torch.Size]) -> None:
        """Give a fresh optimiser the state that a checkpoint has for it, as zeros to be filled."""
        for name, parameter in self.model.named_parameters():
            prefix = f"optimizer.{name}:"
            for key in (key for key in names if key.startswith(prefix)):
                room = torch.zeros_like(parameter) if names[key] == parameter.shape else torch.zeros(names[key])
                self.optimizer.state[parameter][key.removeprefix(prefix)] = room.detach()


@dataclass
class Checkpoints:
    """The checkpoints of a run: written, verified, taken up, dropped."""

    folder: Path
    world: World
    keep: int = 2
    """Newest ones kept."""
    keep_every: int | None = None
    """Those of every n-th step are kept for good."""
    background: bool = False
    """Write in a thread, from a copy in memory, while training goes on."""
    seconds: float = 0.0
    """How long the last one kept the step waiting."""
    saved: int = 0
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False)
    _writing: Future[None] | None = field(default=None, repr=False)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Write ``step-XXXXXXXX``. An OSError leaves what was there whole. Raises FloatingPointError on NaN weights."""
        began = time.perf_counter()
        self.finish()
        tensors = {name: tensor.detach() for name, tensor in state.tensors().items()}
        self._refuse_nan(tensors)
        if self.background:
            copies = {name: _copy(tensor) for name, tensor in tensors.items()}
            self._writing = self._writer.submit(self._write, copies, progress)
        else:
            self._write(tensors, progress)
        self.seconds = time.perf_counter() - began
        self.saved += 1

    def __enter__(self) -> Self:
        """Nothing to open."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let a checkpoint that is being written end, before its process group does; the first error counts."""
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self.finish()

    def finish(self) -> None:
        """Wait for a checkpoint that is still being written; raises what went wrong with it."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def resume(self, state: TrainState, say: Callable[[str], None]) -> Progress | None:
        """Take up the newest whole checkpoint; None where there is none yet. Says which ones are damaged.

        Raises ValueError when there are checkpoints and none of them is whole.
        """
        paths = all_checkpoints(self.folder)
        for path in reversed(paths):
            damage = next((text for text in self.world.gather(self._damage(path)) if text), None)
            if damage is None:
                return self._load(path, state)
            say(f"checkpoint {path.name} is damaged and not used: {damage}")
        if paths:
            raise ValueError(
                f"{self.folder}: no checkpoint is whole; restore one from a copy, or start in another --out"
            )
        return None

    def _damage(self, path: Path) -> str | None:
        """Every process looks at its share of the files, so that large checkpoints are verified at full speed."""
        return find_damage(path, self.world.rank, self.world.size)

    def _load(self, path: Path, state: TrainState) -> Progress:
        progress = read_progress(path)
        reader = HuggingFaceStorageReader(str(path))
        sizes = {name: found.size for name, found in reader.read_metadata().state_dict_metadata.items()}  # type: ignore[union-attr]  # only tensors are stored
        if state.average is not None and not any(name.startswith("average.") for name in sizes):
            raise ValueError(f"{path} holds no average of the weights; resume without ema")
        state.make_room(sizes)
        tensors = state.tensors()
        missing = sorted(name for name, tensor in tensors.items() if sizes.get(name) != tensor.shape)
        if missing:
            raise ValueError(f"{path} is of another model: {missing[0]} is missing or of another shape")
        _dcp(dcp_load, tensors, storage_reader=reader, world=self.world)
        state.step = progress.step
        return progress

    def _write(self, tensors: dict[str, Tensor], progress: Progress) -> None:
        target = self.folder / f"step-{progress.step:08d}"
        aside = self.folder / f".{target.name}.part"
        error: BaseException | None = None
        try:
            if self.world.is_main:
                shutil.rmtree(aside, ignore_errors=True)
                aside.mkdir(parents=True)
            self.world.wait_for_files()
            writer = HuggingFaceStorageWriter(str(aside), save_distributed=True)
            _dcp(dcp_save, tensors, storage_writer=writer, world=self.world)
            if self.world.is_main:
                seal(aside, progress)
                self._put(aside, target)
        except (OSError, SafetensorError, CheckpointException) as problem:
            shutil.rmtree(aside, ignore_errors=True)
            error = problem
        self.world.wait_for_files()
        if error is not None:
            raise OSError(f"could not write {target}: {_reason(error)}; free some space, then --resume") from error

    def _put(self, aside: Path, target: Path) -> None:
        """Rename into place, then drop what is no longer kept; nothing that is being deleted has a whole one's name."""
        if target.exists():  # a resumed run comes by here again, with the same numbers
            _drop(target)
        os.replace(aside, target)
        sync(self.folder)
        for old in all_checkpoints(self.folder)[: -self.keep]:
            if not (self.keep_every and int(old.name[5:]) % self.keep_every == 0):
                _drop(old)
        for left in self.folder.glob(".step-*"):  # of a process that died while it dropped or wrote one
            shutil.rmtree(left, ignore_errors=True)

    def _refuse_nan(self, tensors: Mapping[str, Tensor]) -> None:
        floats = [_local(t) for n, t in tensors.items() if n.startswith("model.") and t.is_floating_point()]
        norms = torch._foreach_norm([tensor for tensor in floats if tensor.numel()], torch.inf)
        wrong = self.world.total([float(not torch.stack(norms).isfinite().all())])
        if wrong[0]:
            raise FloatingPointError(
                "the weights hold NaN or infinite values and were not saved; lower --lr (in a recipe: --optim.lr)"
            )


def all_checkpoints(folder: Path) -> list[Path]:
    """List checkpoints, oldest first; what is half written or half deleted begins with a dot."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def read_model(path: Path) -> dict[str, Tensor]:
    """Return the weights of a checkpoint, whole, however many processes wrote it."""
    damage = find_damage(path)
    if damage is not None:
        raise ValueError(f"{path} is damaged: {damage}")
    reader = HuggingFaceStorageReader(str(path))
    found = {n: m for n, m in reader.read_metadata().state_dict_metadata.items() if n.startswith("model.")}
    tensors = {name: torch.empty(m.size, dtype=m.properties.dtype) for name, m in found.items()}  # type: ignore[union-attr]
    _dcp(dcp_load, tensors, storage_reader=reader, world=None)
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def _dcp(work: Callable[..., object], tensors: dict[str, Tensor], *, world: World | None, **storage: object) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # one process, as intended
        alone = world is None or world.size == 1
        work(tensors, no_dist=alone, process_group=None if world is None else world.files, **storage)


def _copy(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU, as it is sharded. Weights that are on the CPU are copied too, as steps change them."""
    return tensor.cpu() if tensor.device.type != "cpu" else tensor.clone()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _reason(error: BaseException) -> str:
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    return short_reason(error)


def _drop(path: Path) -> None:
    gone = path.with_name(f".{path.name}.dropped")
    shutil.rmtree(gone, ignore_errors=True)
    os.replace(path, gone)
    shutil.rmtree(gone, ignore_errors=True)
