"""Opening a run folder: its model, its modality, and how its data were read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskkit.modality import DataSettings, Modality, find_modality

if TYPE_CHECKING:
    from maskkit.model import MaskedModel


@dataclass(frozen=True)
class OpenRun:
    """A trained model, the modality of its data, and the data settings that it was trained with."""

    model: "MaskedModel"
    modality: Modality
    data: DataSettings


def open_run(path: Path) -> OpenRun:
    """Open the final model of a run, or its newest checkpoint where the run has not ended.

    Raises ValueError, in one line, where the folder holds no run, or holds none that this version can open.
    """
    from maskkit.engine.run import from_plain

    record = read_record(path)
    modality = find_modality(str(record["modality"]))
    settings = record["settings"]
    stored = settings.get("data") if isinstance(settings, dict) else None
    if not isinstance(stored, dict):
        raise ValueError(_no_run(path, "its config.json has no data settings"))
    try:
        data = from_plain(modality.data, stored)
    except TypeError as error:
        raise ValueError(_no_run(path, f"its data settings do not fit this version of maskkit: {error}")) from error
    return OpenRun(_open_model(path, record), modality, data)


def read_record(path: Path) -> dict[str, object]:
    """Return a run's ``config.json``. Raises ValueError where there is none, or it is not that of a run."""
    config = path / "config.json"
    if not config.is_file():
        raise ValueError(_no_run(path, "it has no config.json" if path.exists() else "there is no such folder"))
    try:
        record = json.loads(config.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(_no_run(path, f"its config.json is not JSON ({error})")) from error
    wanted = ("modality", "settings", "model_parts")
    missing = [name for name in wanted if name not in record] if isinstance(record, dict) else list(wanted)
    if missing:
        known = " of a Hugging Face model" if isinstance(record, dict) and "model_type" in record else ""
        raise ValueError(_no_run(path, f"its config.json{known} lacks {', '.join(missing)}"))
    found: dict[str, object] = record
    return found


def _open_model(path: Path, record: dict[str, object]) -> "MaskedModel":
    from maskkit import weights
    from maskkit.engine.checkpoints import all_checkpoints, read_model
    from maskkit.engine.run import RunFolder
    from maskkit.model import MaskedModel
    from maskkit.parts import build

    run = RunFolder(path)
    if run.model.exists():
        return weights.open_model(run.model)
    checkpoints = all_checkpoints(run.checkpoints)
    if not checkpoints:
        raise ValueError(f"{path} holds no model yet: no checkpoint was written")
    model = build(record["model_parts"])
    if not isinstance(model, MaskedModel):
        raise ValueError(_no_run(path, "the model_parts of its config.json describe no model"))
    weights.load(model, read_model(checkpoints[-1]), layout="maskkit")
    return model


def _no_run(path: Path, reason: str) -> str:
    return f"{path} holds no run: {reason}; give the --out folder of maskkit pretrain"
