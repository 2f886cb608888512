"""Checkpoints: the state of a run on disk, written atomically.

A checkpoint is a folder. It holds each process's part of the weights, the optimiser and the average in safetensors,
written by torch.distributed.checkpoint, so that any number of processes can read it. ``manifest.json`` holds the
progress of the run, and the size and checksum of every file. The folder is written under a temporary name, flushed to
disk and renamed. It consists of tensors and JSON, so reading it runs no code. (DCP's own format includes a pickle.)

No generator state is stored, because every generator is seeded from (seed, step, micro-batch).
"""

import contextlib
import os
import re
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
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save
from torch.distributed.tensor import DTensor

from maskkit.engine.distributed import World
from maskkit.engine.manifest import Progress, find_damage, read_progress, seal
from maskkit.files import short_reason, sync
from maskkit.model import MaskedModel
from maskkit.optim import EMA
from maskkit.weights.files import sort_metadata


class _Reader(HuggingFaceStorageReader):
    """A reader that looks at the headers once. torch prints a traceback if they are gone when it looks for itself."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._headers = super().read_metadata()

    def read_metadata(self, *args: object, **kwargs: object) -> Metadata:
        return self._headers


@dataclass
class TrainState:
    """The state that a step changes."""

    model: MaskedModel
    optimizer: torch.optim.Optimizer
    average: EMA | None
    step: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by its name in a checkpoint."""
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.average is not None:
            found |= {f"average.{name}": tensor for name, tensor in self.average.weights.items()}
        for name, parameter in self.model.named_parameters():
            for kind, tensor in self.optimizer.state.get(parameter, {}).items():
                found[f"optimizer.{name}:{kind}"] = tensor
        return found

    def make_room(self, names: Mapping[str, torch.Size]) -> None:
        """Create the state tensors of a new optimiser with the shapes of a checkpoint, to be filled by loading."""
        for name, parameter in self.model.named_parameters():
            prefix = f"optimizer.{name}:"
            for key in (key for key in names if key.startswith(prefix)):
                room = torch.zeros_like(parameter) if names[key] == parameter.shape else torch.zeros(names[key])
                self.optimizer.state[parameter][key.removeprefix(prefix)] = room.detach()


@dataclass
class Checkpoints:
    """The checkpoints of a run: writing, verifying, loading and deleting."""

    folder: Path
    world: World
    keep: int = 2
    """Number of most recent checkpoints to keep."""
    keep_every: int | None = None
    """Checkpoints of every n-th step are kept permanently."""
    background: bool = False
    """Write in a background thread, from a copy in memory."""
    seconds: float = 0.0
    """Seconds that the last checkpoint blocked training."""
    saved: int = 0
    _writer: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False)
    _writing: Future[None] | None = field(default=None, repr=False)

    def save(self, state: TrainState, progress: Progress) -> None:
        """Write ``step-XXXXXXXX``.

        After an OSError, older checkpoints are intact. Raises FloatingPointError on NaN weights.
        """
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
        """Return the object itself."""
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Wait for a checkpoint that is being written before the process group ends. The first error is raised."""
        with contextlib.suppress(OSError) if error is not None else contextlib.nullcontext():
            self.finish()

    def finish(self) -> None:
        """Wait for a checkpoint that is still being written, and raise its error if there was one."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def resume(self, state: TrainState, say: Callable[[str], None]) -> Progress | None:
        """Load the newest valid checkpoint; None if there are no checkpoints. Damaged checkpoints are reported.

        Raises ValueError if there are checkpoints and all of them are damaged.
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
        """Return why a checkpoint is damaged. Each process verifies its share of the files."""
        return find_damage(path, self.world.rank, self.world.size) or _unreadable(path)

    def _load(self, path: Path, state: TrainState) -> Progress:
        progress = read_progress(path)
        reader = _Reader(path)
        sizes = {name: found.size for name, found in reader.read_metadata().state_dict_metadata.items()}  # type: ignore[union-attr]  # only tensors are stored
        if state.average is not None and not any(name.startswith("average.") for name in sizes):
            raise ValueError(f"{path} holds no average of the weights; resume without ema")
        state.make_room(sizes)
        tensors = state.tensors()
        missing = sorted(name for name, tensor in tensors.items() if sizes.get(name) != tensor.shape)
        if missing:
            raise ValueError(f"{path} is of another model: {missing[0]} is missing or has another shape")
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
                for file in aside.glob("*.safetensors"):
                    sort_metadata(file)
                seal(aside, progress)
                self._put(aside, target)
        except (OSError, SafetensorError, CheckpointException) as problem:
            shutil.rmtree(aside, ignore_errors=True)
            error = problem
        self.world.wait_for_files()
        if error is not None:
            reason = _reason(error)
            mend = "free some space" if re.search("no space|quota", reason, re.IGNORECASE) else "check the folder"
            raise OSError(f"could not write {target}: {reason}; {mend}, then --resume") from error

    def _put(self, aside: Path, target: Path) -> None:
        """Rename into place, then delete old checkpoints, which are renamed before they are deleted."""
        if target.exists():  # a resumed run writes the same checkpoint again
            _drop(target)
        os.replace(aside, target)
        sync(self.folder)
        for old in all_checkpoints(self.folder)[: -self.keep]:
            if not (self.keep_every and int(old.name[5:]) % self.keep_every == 0):
                _drop(old)
        for left in self.folder.glob(".step-*"):  # left by a process that died while it deleted or wrote a checkpoint
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
    """Return the checkpoints, oldest first. Names of incomplete ones begin with a dot; other folders are the user's."""
    return sorted(path for path in folder.glob("step-*") if path.name[5:].isdecimal() and path.is_dir())


def read_model(path: Path) -> dict[str, Tensor]:
    """Return the unsharded weights of a checkpoint. Raises ValueError for one that is damaged or being deleted."""
    damage = find_damage(path) or _unreadable(path)
    if damage is not None:
        raise ValueError(damage)
    try:
        reader = _Reader(path)
        found = {n: m for n, m in reader.read_metadata().state_dict_metadata.items() if n.startswith("model.")}
        tensors = {name: torch.empty(m.size, dtype=m.properties.dtype) for name, m in found.items()}  # type: ignore[union-attr]
        _dcp(dcp_load, tensors, storage_reader=reader, world=None)
    except (Exception, CheckpointException) as error:  # all kinds, if a file is deleted while it is read
        raise ValueError(_reason(error)) from error
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def read_newest_model(folder: Path, say: Callable[[str], None]) -> dict[str, Tensor]:
    """Return the weights of the newest whole checkpoint, as ``Checkpoints.resume`` chooses it.

    A run that is still training may delete a checkpoint while it is read; then the next one is read. Raises ValueError
    if no checkpoint is whole.
    """
    tried: set[Path] = set()
    while left := [path for path in all_checkpoints(folder) if path not in tried]:
        tried.add(path := left[-1])
        try:
            return read_model(path)
        except ValueError as error:
            if path.exists():
                say(f"checkpoint {path.name} is damaged and not used: {_reason(error)}")
    raise ValueError(f"{folder}: no checkpoint is whole; restore one from a copy")


def _unreadable(path: Path) -> str | None:
    """Return why torch cannot read the files of a checkpoint whose checksums are right, or None."""
    try:
        _Reader(path)
    except Exception as error:  # whatever the parsers of headers raise for files that somebody else wrote
        return f"its files are no checkpoint ({short_reason(error)})"
    return None


def _dcp(work: Callable[..., object], tensors: dict[str, Tensor], *, world: World | None, **storage: object) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # expected with one process
        alone = world is None or world.size == 1
        work(tensors, no_dist=alone, process_group=None if world is None else world.files, **storage)


def _copy(tensor: Tensor) -> Tensor:
    """Copy a tensor's shard to the CPU. Weights on the CPU are copied too, because the next steps change them."""
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
