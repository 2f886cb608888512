"""What ``maskkit pretrain`` makes of its words, without training."""

import json

from maskkit.commands.flags import take_flags
from maskkit.commands.run_settings import parse
from maskkit.engine.restore import settings_from
from maskkit.engine.run import plain
from maskkit.modality import as_modality


def settings_of(modality, *words):
    """Return the settings of the run that the words ask for."""
    rest, taken = take_flags([str(word) for word in words], ("--method", "--preset", "--config", "--save-config"))
    return parse(as_modality(modality), rest, taken)


def restored(modality, settings):
    """Return settings written to a configuration and read again."""
    record = {"method": settings.model.name, "settings": json.loads(json.dumps(plain(settings)))}
    return settings_from(record, as_modality(modality), "config.json")
