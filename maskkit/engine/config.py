"""The contents of ``config.json``: settings as plain JSON and back, and the one check of a file that was edited."""

import dataclasses
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from maskkit.files import read_json, short_reason
from maskkit.hints import HintError, check_value

S = TypeVar("S")

MEND_CONFIG = "correct it, or restore the file from a copy"


def read_config(file: Path, wanted: Sequence[str]) -> dict[str, object]:
    """Return the contents of a ``config.json``. All that any command reads of it has the type that it should have.

    Raises HintError, which names a key, for a value of another type, and ValueError, whose message continues "the
    file", for a file that is not JSON or lacks one of the keys ``wanted``. Settings are checked by ``from_plain`` and
    parts by ``build``.
    """
    try:
        found = read_json(file, unique_keys=True)
    except OSError as error:
        raise ValueError(f"cannot be read ({short_reason(error)})") from None
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from None
    record: dict[str, object] = found if isinstance(found, dict) else {}
    if missing := [name for name in wanted if name not in record]:
        known = "of a Hugging Face model " if "model_type" in record else ""
        raise ValueError(f"{known}lacks {', '.join(missing)}")
    settings = record["settings"]
    if not isinstance(settings, dict) or ("model_parts" in wanted and not isinstance(settings.get("data"), dict)):
        raise ValueError("has no data settings")
    hints = {"modality": str, "method": str | None, "model_parts": Mapping[str, object]}
    for name, hint in hints.items():
        if name in record:
            check_value(record[name], hint, name)
    for name in ("model", "data"):
        if name in settings:
            check_value(settings[name], Mapping[str, object], f"settings.{name}")
    return record


def plain(value: object) -> object:
    """Return settings as plain JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def from_plain(kind: type[S], record: Mapping[str, object], key: str = "", /, **built: object) -> S:
    """Return settings of the class ``kind`` from plain JSON. Lists become tuples, objects become nested settings.

    ``key`` is the place of the record in its file, such as "settings.data", for messages. ``built`` holds fields that
    are built already. Missing fields have their defaults. Raises ValueError for an unknown field, for a missing one
    without a default, and for a value of another type than the field's.
    """
    where = f"{key}: " if key else ""
    hints = typing.get_type_hints(kind)
    fields = {each.name: each for each in dataclasses.fields(kind) if each.init}  # type: ignore[arg-type]  # settings are dataclasses
    if unknown := sorted(record.keys() - fields.keys()):
        raise ValueError(
            f"{where}{kind.__name__} has no setting {', '.join(unknown)}; was it written by another version?"
        )
    values = dict(built)
    for name, value in record.items():
        if name not in built:
            place = f"{key}.{name}" if key else name
            values[name] = _from_plain(hints[name], value, place)
            check_value(values[name], hints[name], place)
    needed = [each.name for each in fields.values() if each.default is each.default_factory is dataclasses.MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{where}the setting {', '.join(missing)} is missing")
    try:
        return kind(**values)
    except HintError:
        raise
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ValueError(f"{where}{error}") from error


def _from_plain(hint: object, value: object, key: str) -> object:
    if isinstance(value, Mapping) and dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_plain(hint, value, key)
    if isinstance(value, list):
        inner = next((each for each in typing.get_args(hint) if each is not Ellipsis), None)
        return tuple(_from_plain(inner, item, f"{key}[{number}]") for number, item in enumerate(value))
    if isinstance(value, str) and hint is Path:
        return Path(value)
    return value
