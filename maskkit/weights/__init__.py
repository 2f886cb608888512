"""Reading and writing of weights: our own files, the authors' checkpoints, timm and transformers.

A *layout* is a set of names and shapes of weights. Each layout has its own module, which translates to and from
maskkit's names. No code from a file is run: files are safetensors, or read by ``torch.load`` with
``weights_only=True``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor

from maskkit.files import parse_json, whole_file
from maskkit.model import MaskedModel
from maskkit.parts import build_as, describe
from maskkit.weights import audiomae, hf, mae, own, point_mae, timm, videomae
from maskkit.weights.files import read, read_metadata, write
from maskkit.weights.states import check_numbers, check_tensors, unwrapped

Part = Literal["model", "encoder", "decoder"]
State = Mapping[str, Tensor]

# In the order of "auto", which takes the first layout that recognises the names.
LAYOUTS: dict[str, ModuleType] = {
    "maskkit": own,
    "audiomae": audiomae,
    "mae": mae,
    "videomae": videomae,
    "point-mae": point_mae,
    "hf": hf,
    "timm": timm,
}

__all__ = ["LAYOUTS", "Report", "convert", "load", "open_model", "save"]


@dataclass(frozen=True)
class Report:
    """The result of ``load``: names of the model (loaded, missing) and of the source (unused).

    Missing are those of a whole part, such as the decoder, that the source's layout does not hold.
    """

    layout: str
    loaded: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the report as a few lines of text."""
        lines = [f"layout {self.layout}: {len(self.loaded)} tensors loaded"]
        lines += [f"missing: {_some(self.missing)}"] if self.missing else []
        lines += [f"unused: {_some(self.unused)}"] if self.unused else []
        return "\n".join([*lines, *self.notes])


def load(
    model: MaskedModel,
    source: str | Path | State,
    layout: str = "auto",
    part: Part = "model",
    *,
    resize_positions: bool = False,
) -> Report:
    """Load weights into a model from a file, a folder or a state dict, and return a report.

    ``part`` is the part that must be complete: "encoder", or "model" for all that the layout can hold (timm's holds the
    encoder only). Raises ValueError for a missing tensor, a wrong shape, or a layer that the model lacks, and then
    leaves the model unchanged. A position table of another grid raises ValueError too, unless ``resize_positions``
    allows it to be computed anew for the model's grid.
    """
    state = dict(source) if isinstance(source, Mapping) else read(source)
    where = "the state dict" if isinstance(source, Mapping) else str(source)
    check_tensors(state.items(), where)
    state = unwrapped(state)
    chosen = _recognise(state, model, source, where) if layout == "auto" else _layout(layout)
    translation = LAYOUTS[chosen].to_maskkit(state, model, resize_positions=resize_positions)

    wanted = {name: tensor for name, tensor in model.state_dict().items() if _in_part(name, part, LAYOUTS[chosen])}
    wanted = {name: tensor for name, tensor in wanted.items() if name not in translation.replaced}
    found = {name: tensor for name, tensor in translation.state.items() if _in_part(name, part, LAYOUTS[chosen])}
    missing = tuple(name for name in wanted if name not in found)
    surplus = [name for name in found if name not in wanted]
    wrong = [
        f"{name} is {list(found[name].shape)} there and {list(tensor.shape)} here"
        for name, tensor in wanted.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if wrong:
        raise ValueError(f"{where} holds another architecture: {_some(wrong)}; build the model with its sizes")
    if surplus:
        raise ValueError(f"{where} has layers that this model lacks: {_some(surplus)}; build the model with its sizes")
    if missing:
        absent = {name.split(".")[0] for name in missing if not any(n.startswith(name.split(".")[0]) for n in found)}
        hint = (
            f"; it holds no {' and no '.join(sorted(absent))}: load with part='encoder'"
            if absent == {"decoder"}
            else ""
        )
        raise ValueError(f"{where} ({chosen} layout) lacks {_some(missing)}{hint}")
    check_numbers({name: found[name] for name in wanted}, where)

    names = tuple(model.state_dict())
    translation.apply()
    model.load_state_dict({name: found[name] for name in wanted}, strict=False)
    skipped = tuple(name for name in translation.state if name not in found)
    # A layout may hold one part only, such as timm's. What stays as it was is then named.
    held = tuple(translation.replaced) + tuple(wanted)
    kept = tuple(name for name in names if part == "model" and name not in held)
    notes = (*translation.notes, *_absent_parts(kept))
    return Report(chosen, tuple(wanted), kept, (*translation.unused, *skipped), notes)


def _absent_parts(absent: tuple[str, ...]) -> list[str]:
    """Return a line about the parts of a model that a source without them leaves as they were."""
    parts = sorted({name.split(".")[0] for name in absent})
    return [f"the source has no {' and no '.join(parts)}, which keeps its weights"] if parts else []


def convert(model: MaskedModel, layout: str = "maskkit", part: Part = "model") -> dict[str, Tensor]:
    """Return the weights of a model as a state dict in a layout, on the CPU.

    Raises ValueError if it cannot hold them.
    """
    chosen = LAYOUTS[_layout(layout)]
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items() if _in_part(name, part, chosen)}
    return {name: tensor.contiguous() for name, tensor in chosen.from_maskkit(state, model).items()}


def save(model: MaskedModel, path: str | Path, layout: str = "maskkit", part: Part = "model") -> Path:
    """Write a safetensors file in a layout, atomically, and return its path.

    A path that ends in ``.pth`` is written for the authors' scripts: ``{"model": state}``, or the layout's own key. For
    "hf" a path without a suffix becomes a folder with weights and ``config.json``, which ``from_pretrained`` opens.
    Raises ValueError if the layout cannot hold the model.
    """
    path, state = Path(path), convert(model, layout, part)
    metadata = {"format": "pt", "layout": layout}
    if layout == "maskkit":
        metadata["maskkit"] = json.dumps(describe(model))
    if path.suffix == "":
        path.mkdir(parents=True, exist_ok=True)
        if layout == "hf":
            with whole_file(path / "config.json") as aside:
                aside.write_text(json.dumps(hf.config(model), indent=2) + "\n")
        path = path / "model.safetensors"
    return write(state, path, metadata)


def open_model(path: str | Path) -> MaskedModel:
    """Build a model from a maskkit file, or a folder with one, and load its weights.

    Parts from outside of installed packages must be imported before. Raises ValueError for other files.
    """
    metadata = read_metadata(path)
    if "maskkit" not in metadata:
        raise ValueError(f"{path} carries no maskkit configuration; build the model, then call weights.load")
    try:
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten at once
            model = build_as(MaskedModel, parse_json(metadata["maskkit"]), "maskkit")
    except ValueError as error:
        raise ValueError(f"{path}: its metadata describe no model: {error}; restore the file from a copy") from error
    load(model, path, layout="maskkit")
    return model


def _layout(name: str) -> str:
    if name not in LAYOUTS:
        raise ValueError(f"layout must be one of auto, {', '.join(LAYOUTS)}, got {name!r}")
    return name


def _recognise(state: State, model: MaskedModel, source: str | Path | State, where: str) -> str:
    """Return the layout of a source: that of its metadata, ours if all names are the model's, or a recognised one."""
    written = None if isinstance(source, Mapping) else read_metadata(source).get("layout")
    if written in LAYOUTS:
        return written
    if state and state.keys() <= model.state_dict().keys():
        return "maskkit"
    for name, layout in LAYOUTS.items():
        if layout.recognises(state):
            return name
    held = _some(tuple(state)) or "nothing"
    raise ValueError(f"{where} has no layout that maskkit knows ({', '.join(LAYOUTS)}); it holds {held}")


def _in_part(name: str, part: Part, layout: ModuleType) -> bool:
    holds: tuple[str, ...] = layout.PARTS
    inside = any(name.startswith(prefix + ".") for prefix in holds) or "model" in holds
    return inside and (part == "model" or name.startswith(part + "."))


def _some(names: tuple[str, ...] | list[str], most: int = 4) -> str:
    """Return the first few names and the number of further ones."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
