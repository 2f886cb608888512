"""Default settings of a run for its point clouds and the machine."""

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch

from maskkit.data.source import Key, read_sample, readable
from maskkit.modalities.points.cloud import WIDTHS
from maskkit.modalities.points.data import Data
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.inputs import Inputs
from maskkit.modality import DataSettings, Fit, MethodSettings
from maskkit.seeds import generator


def fit(model: MethodSettings, data: DataSettings, say: Callable[[str], None]) -> Fit:
    """Return settings with every None replaced for a model and its clouds, and report the choices."""
    assert isinstance(model, Inputs) and isinstance(data, Data)
    cuda = torch.cuda.is_available()
    chosen: dict[str, object] = {
        "num_groups": model.groups,
        "group_size": model.points_of_group,
        "features": model.features or sum(WIDTHS[name] for name in data.features),
    }
    if getattr(model, "size", "") is None:
        chosen["size"] = "small" if cuda else "tiny"
    found: MethodSettings = replace(model, **chosen)  # type: ignore[arg-type]  # fields of a settings class
    assert isinstance(found, Inputs)
    source = data.open(cast(Groups, found.spec().tokenizer), train=False)
    next(readable(range(min(len(source), 20)), lambda index: read_sample(source, Key.of(index), generator(0))), None)
    say(f"{len(source)} clouds or meshes, {model.num_points} points of each")
    name, size = model.name, chosen.get("size", getattr(model, "size", None))
    summary = f"{name}{f'-{size}' if size else ''}, {model.groups} groups of {model.points_of_group}"
    return Fit(
        model=found,
        data=data,
        samples=len(source),
        batch=128 if cuda else 32,
        summary=summary,
    )
