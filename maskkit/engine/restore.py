"""Reading of the settings of a run from its ``config.json``."""

from collections.abc import Mapping
from typing import cast

from maskkit.engine.config import MEND_CONFIG, from_plain
from maskkit.engine.run import RunFolder
from maskkit.engine.settings import DataSettings, ModelSettings, Pretrain
from maskkit.methods import find_method, methods_of
from maskkit.modality import Modality


def restore_settings(folder: RunFolder, modality: Modality) -> Pretrain[ModelSettings, DataSettings]:
    """Return the settings of a run. Raises ValueError for a run on another modality, or unknown settings."""
    record = folder.record()
    if record["modality"] != modality.name:
        raise ValueError(
            f"{folder.path} holds a run on {record['modality']}; resume it as that, not as {modality.name}"
        )
    return settings_from(record, modality, str(folder.config))


def settings_from(
    record: Mapping[str, object], modality: Modality, where: str
) -> Pretrain[ModelSettings, DataSettings]:
    """Return settings from the contents of a ``config.json`` (``read_config``). Missing fields have their defaults."""
    settings, name = dict(cast(Mapping[str, object], record["settings"])), record.get("method")
    parts = {part: cast(Mapping[str, object], settings.pop(part, {})) for part in ("model", "data")}
    try:
        if name is None and "method" not in record and modality.migrate is not None:
            name, settings = modality.migrate({**settings, "model": parts["model"]})
            parts["model"] = cast(Mapping[str, object], settings.pop("model"))
        kind = find_method(modality, str(name or next(iter(methods_of(modality)))))
        model = from_plain(kind, parts["model"], "settings.model")
        data = from_plain(modality.data, parts["data"], "settings.data")
        found = from_plain(Pretrain, settings, "settings", model=model, data=data)
    except ValueError as error:
        raise ValueError(f"{where}: {error}; {MEND_CONFIG}") from None
    return cast(Pretrain[ModelSettings, DataSettings], found)
