"""The state of a run on disk: everything that the next step depends on, complete or absent.

A checkpoint is written into a folder beside its place, flushed to disk, and renamed. All of it is safetensors and JSON:
reading it back runs no code.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from maskkit.engine.optim import Average
from maskkit.model import MaskedModel
from maskkit.weights.files import read, write


@dataclass
class TrainState:
    """What a step changes."""

    model: MaskedModel
    optimizer: torch.optim.Optimizer
    average: Average | None
    mask_rng: torch.Generator
    step: int = 0

    def save(self, checkpoints: Path, *, keep: int, metrics_bytes: int = 0) -> Path:
        """Write ``step-XXXXXXXX`` and drop all but the last ``keep``. An OSError leaves what was there whole."""
        place = checkpoints / f"step-{self.step:08d}"
        aside = checkpoints / f".{place.name}.part"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            write(self.model.state_dict(), aside / "model.safetensors", {"format": "pt"})
            write(self._optimizer_tensors(), aside / "optimizer.safetensors", {})
            if self.average is not None:
                write(self.average.weights, aside / "ema.safetensors", {"format": "pt"})
            write(self._rng_tensors(), aside / "rng.safetensors", {})
            text = json.dumps({"step": self.step, "metrics_bytes": metrics_bytes})
            with (aside / "state.json").open("w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            _sync(aside)
            if place.exists():  # a resumed run comes by here again, with the same numbers
                shutil.rmtree(place)
            os.replace(aside, place)
            _sync(checkpoints)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        for old in all_checkpoints(checkpoints)[:-keep]:
            shutil.rmtree(old)
        return place

    def load(self, place: Path) -> int:
        """Take up a checkpoint; returns the length of the metrics file at that time, in bytes."""
        device = next(self.model.parameters()).device
        record = json.loads((place / "state.json").read_text())
        self.model.load_state_dict(read(place / "model.safetensors"))
        self._set_optimizer(read(place / "optimizer.safetensors"), device)
        if self.average is not None:
            if not (place / "ema.safetensors").exists():
                raise ValueError(f"{place} holds no average of the weights; resume without ema")
            self.average.weights = {n: t.to(device) for n, t in read(place / "ema.safetensors").items()}
        rng = read(place / "rng.safetensors")
        torch.set_rng_state(rng["torch"])
        self.mask_rng.set_state(rng["mask"])
        if "cuda" in rng and torch.cuda.is_available():
            torch.cuda.set_rng_state(rng["cuda"])
        self.step = int(record["step"])
        return int(record["metrics_bytes"])

    def _names(self) -> dict[int, str]:
        """Map torch's numbers of the optimiser's parameters to their names."""
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        return {number: names[id(parameter)] for number, parameter in enumerate(parameters)}

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        """Return the optimiser's state under the names of its parameters."""
        names, state = self._names(), self.optimizer.state_dict()["state"]
        return {f"{names[n]}:{key}": value for n, values in state.items() for key, value in values.items()}

    def _set_optimizer(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        state: dict[int, dict[str, Tensor]] = {number: {} for number in self._names()}
        numbers = {name: number for number, name in self._names().items()}
        for key, tensor in tensors.items():
            name, kind = key.rsplit(":", 1)
            state[numbers[name]][kind] = tensor.to(device)
        groups = self.optimizer.state_dict()["param_groups"]
        used = {number: values for number, values in state.items() if values}
        self.optimizer.load_state_dict({"state": used, "param_groups": groups})

    def _rng_tensors(self) -> dict[str, Tensor]:
        rng = {"torch": torch.get_rng_state(), "mask": self.mask_rng.get_state()}
        return rng | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def all_checkpoints(checkpoints: Path) -> list[Path]:
    """List whole checkpoints, oldest first; what is half written begins with a dot."""
    return sorted(path for path in checkpoints.glob("step-*") if path.is_dir())


def _sync(folder: Path) -> None:
    """Flush a folder's list of names to disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
