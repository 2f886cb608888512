"""Files of tensors: read without running code, and written atomically."""

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from maskkit.files import parse_json, read_json, short_reason, whole_file
from maskkit.weights import point_mae

KEYS = {"point-mae": point_mae.KEY}  # key of the weights in the authors' files, if it is not "model"
# Keys under which training scripts keep the weights of the model, in the order of preference.
HOLDERS = (
    *("model", "state_dict", "module", "base_model", "model_state", "model_state_dict", "net", "network", "weights"),
    *("model_ema", "state_dict_ema", "ema", "ema_state_dict", "encoder", "target_encoder", "teacher", "student"),
)
_DEEPEST = 8  # dicts in dicts; a pickle can hold a dict that holds itself
PICKLED = (".pth", ".pt", ".bin")


def read(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a ``.safetensors`` file, a pickled checkpoint, or a folder with one of them.

    Raises ValueError.
    """
    files = _resolve(Path(path))
    absent = next((file for file in files if not file.is_file()), None)
    if absent is not None:
        raise ValueError(f"{absent} is missing, though an index names it; download the folder again")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= _read_safetensors(file) if _is_safetensors(file) else _read_pickle(file)
    return state


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file; empty for other files."""
    file = _resolve(Path(path))[0]
    if not file.is_file() or not _is_safetensors(file):
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
                with aside.open("wb") as file:  # torch would write the name of a path into the file
                    torch.save({KEYS.get(metadata.get("layout", ""), "model"): dict(state)}, file)
            else:
                save_file(dict(state), aside, metadata=metadata)
                sort_metadata(aside)
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(f"could not write {path}: {error}") from error
    return path


def sort_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file by name, in place, so that equal contents are equal bytes.

    The library writes them in the order of a hash table, which differs from process to process. The file begins with
    the length of its header (8 bytes), and the header (JSON, padded with blanks).
    """
    with path.open("rb+") as file:
        length = int.from_bytes(file.read(8), "little")
        header = parse_json(file.read(length))
        assert isinstance(header, dict)
        header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the same JSON in another order has the same length"
        file.seek(8)
        file.write(text.ljust(length))


def _resolve(path: Path) -> list[Path]:
    """Return the weight files of a path, which may be a folder of transformers or of a run."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise ValueError(f"{path} does not exist; give a .safetensors or .pth file, or a folder with one")
    index = path / "model.safetensors.index.json"
    if index.is_file():
        return [path / name for name in _shards(index)]
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (path / name).is_file():
            return [path / name]
    raise ValueError(f"{path} holds no model.safetensors and no pytorch_model.bin; name the file itself")


def _shards(index: Path) -> list[str]:
    """Return the names of the files of an index. Raises ValueError if it is broken or names other folders."""
    try:
        found = read_json(index)
        names = sorted(set(found["weight_map"].values())) if isinstance(found, dict) else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{index} is no index of weights: {short_reason(error)}; download it again") from None
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise ValueError(f"{index} names no files in its own folder; download it again")
    return names


def _is_safetensors(file: Path) -> bool:
    """Return whether a file is one of safetensors by its suffix or, since files are renamed, by its first bytes."""
    if file.suffix.lower() == ".safetensors":
        return True
    with file.open("rb") as opened:
        head = opened.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") < file.stat().st_size


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(file))
    except Exception as error:  # safetensors raises its own errors, and torch's for types and shapes
        raise ValueError(f"{file} is not a whole safetensors file: {short_reason(error)}; download it again") from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    # The authors' checkpoints contain their command line as a Namespace, which holds values and runs no code.
    with torch.serialization.safe_globals([argparse.Namespace]):
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle raises nearly anything
            raise ValueError(
                f"{file} is no checkpoint that can be read without running code: {_pickle_reason(error)}"
            ) from error
    return _state_in(content, file)


def _pickle_reason(error: Exception) -> str:
    """Return why a pickle cannot be read, without torch's advice to run the code in it."""
    text = str(error)
    found = re.search(r"GLOBAL (\S+)", text)
    if found:
        return f"it holds {found[1]}, which is no tensor"
    if text.startswith("Weights only load failed"):
        return "it is damaged, or no file of torch.save"
    return short_reason(error)


def _state_in(content: object, file: Path) -> dict[str, Tensor]:
    """Return the state dict in a checkpoint: under the first of ``HOLDERS`` that it has, or the checkpoint itself."""
    for _ in range(_DEEPEST):
        if not isinstance(content, dict):
            break
        tensors = {name: x for name, x in content.items() if isinstance(name, str) and isinstance(x, Tensor)}
        inner = next((content[key] for key in HOLDERS if isinstance(content.get(key), dict)), None)
        if inner is None and tensors:
            return tensors
        if inner is None:
            inside = [str(key) for key, value in content.items() if isinstance(value, dict)] or list(map(str, content))
            raise ValueError(
                f"{file} has no weights under a known key; it holds {', '.join(inside[:8]) or 'nothing'}; "
                "load it yourself, and pass the state dict"
            )
        content = inner
    raise ValueError(f"{file} holds a {type(content).__name__}, not a state dict")
