"""Opening of what a command calls MODEL: the model, its modality and the settings of its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from maskkit.modality import DataSettings, Modality, find_modality
from maskkit.printing import say

if TYPE_CHECKING:
    from maskkit.engine.run import RunFolder
    from maskkit.model import MaskedModel


@dataclass(frozen=True)
class OpenModel:
    """A trained model, the modality of its data, and the data settings of its training."""

    model: "MaskedModel"
    modality: Modality
    data: DataSettings


def open_model(source: str | Path) -> OpenModel:
    """Open the final model of a run, or its newest checkpoint if the run has not ended.

    Raises ValueError if the folder holds no run, or a run that this version cannot open.
    """
    from maskkit.engine.config import MEND_CONFIG, from_plain
    from maskkit.engine.run import RunFolder

    folder = RunFolder(Path(source))
    record = folder.record()
    modality = find_modality(str(record["modality"]))
    stored = cast(Mapping[str, Mapping[str, object]], record["settings"])["data"]
    try:
        data = from_plain(modality.data, stored, "settings.data")
    except ValueError as error:
        raise ValueError(
            f"{folder.config}: its data settings do not fit this version of maskkit: {error}; {MEND_CONFIG}"
        ) from error
    return OpenModel(_model_of(folder, record), modality, data)


def _model_of(folder: "RunFolder", record: Mapping[str, object]) -> "MaskedModel":
    from maskkit import weights
    from maskkit.engine.checkpoints import all_checkpoints, read_newest_model

    if folder.model.exists():
        return weights.open_model(folder.model)
    if not all_checkpoints(folder.checkpoints):
        raise ValueError(f"{folder.path} holds no model yet: no checkpoint was written")
    model = folder.build(record)
    weights.load(model, read_newest_model(folder.checkpoints, say), layout="maskkit")
    return model
