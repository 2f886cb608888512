"""Files of tensors: read without running code, and written atomically."""

import argparse
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskkit.files import short_reason, whole_file
from maskkit.weights import point_mae

KEYS = {"point-mae": point_mae.KEY}  # key of the weights in the authors' files, if it is not "model"
PICKLED = (".pth", ".pt", ".bin")


def read(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a ``.safetensors`` file, a pickled checkpoint, or a folder with one of them.

    Raises ValueError.
    """
    files = _resolve(Path(path))
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    return state


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty for other files."""
    file = _resolve(Path(path))[0]
    if file.suffix != ".safetensors":
        return {}
    try:
        with safe_open(file, framework="pt") as opened:
            return dict(opened.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from error


def write(state: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> Path:
    """Write a file atomically: a reader sees the old file or the new one.

    ``metadata["layout"]`` determines the key of the weights in a pickled file. Raises ValueError for another suffix.
    """
    if path.suffix not in (".safetensors", *PICKLED):
        raise ValueError(f"{path} must end in .safetensors or, for the authors' scripts, in .pth")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with whole_file(path) as aside:
            if path.suffix in PICKLED:
                torch.save({KEYS.get(metadata.get("layout", ""), "model"): dict(state)}, aside)
            else:
                save_file(dict(state), aside, metadata=metadata)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(f"could not write {path}: {error}") from error
    return path


def _resolve(path: Path) -> list[Path]:
    """Return the weight files of a path, which may be a folder of transformers or of a run."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; give a .safetensors or .pth file, or a folder with one")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        shards = json.loads(index.read_text())["weight_map"].values()
        return [path / name for name in sorted(set(shards))]
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return [path / name]
    raise ValueError(f"{path} holds no model.safetensors and no pytorch_model.bin; name the file itself")


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(file))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    # The authors' checkpoints contain their command line as a Namespace, which holds values and runs no code.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            reason = short_reason(error)
            raise ValueError(f"{file} is no checkpoint that can be read without running code: {reason}") from error
    for key in ("model", "state_dict", "module", "base_model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict):
        raise ValueError(f"{file} holds a {type(content).__name__}, not a state dict")
    return {name: tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
