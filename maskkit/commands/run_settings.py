"""Flags, a configuration file or a run's own settings become the settings of a run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import tyro

from maskkit.commands.flags import parse_flags, take_flags
from maskkit.commands.words import check_out
from maskkit.engine.config import MEND_CONFIG, plain, read_config
from maskkit.engine.restore import restore_settings, settings_from
from maskkit.engine.run import RunFolder
from maskkit.engine.settings import DataSettings, ModelSettings, Pretrain, fitted, resumed
from maskkit.files import whole_file
from maskkit.hints import HintError
from maskkit.methods import find_method, methods_of
from maskkit.modality import Modality
from maskkit.printing import say

Settings = Pretrain[ModelSettings, DataSettings]


def parse(modality: Modality, words: list[str], taken: dict[str, str | None]) -> Settings:
    """Return the settings of a run from its arguments. Values that are not given are chosen to fit the data."""
    where, resumes = _run_of(words), "--resume" in words
    folder = RunFolder(Path(where)) if where is not None else None
    if where == "":  # an unset variable of a shell; as a path it would be the current folder
        raise ValueError("--out is empty; name the folder to write the run to")
    if folder is not None:
        folder.check_settings()
    known = folder is not None and (folder.started or (resumes and folder.has_settings))
    if folder is not None and known and not {"-h", "--help"} & set(words):
        if not resumes:
            raise ValueError(f"{where} already holds a run; choose another --out, or continue it with --resume")
        before = restore_settings(folder, modality)
        asked = _asked(modality, words, replace(before, out=folder.path))
        asked.check()
        _say_vain(before, taken)
        return resumed(before, asked, say)
    settings = _asked(modality, words, _default(modality, taken))
    settings.check()
    if not settings.data.root and not getattr(settings.data, "list", None):
        raise ValueError("--data is missing; give a folder, glob, list file, array or tar shards")
    return fitted(settings, modality.fit(settings.model, settings.data, say), say)  # type: ignore[arg-type]


def _default(modality: Modality, taken: dict[str, str | None]) -> Settings:
    """Return the settings before flags are applied: those of a configuration file, or the defaults of a method."""
    method, size = taken["--method"], None
    if taken["--preset"] is not None:
        method, size = _preset(modality, taken["--preset"])
    if taken["--config"] is not None:
        settings = configured(modality, Path(taken["--config"]))
        if method is None or find_method(modality, method) is type(settings.model):
            return settings
        return replace(settings, model=find_method(modality, method)())
    kind = find_method(modality, method or next(iter(methods_of(modality))))
    model = kind() if size is None else kind(size=size)  # type: ignore[call-arg]  # presets have sizes
    data = modality.data(root=tyro.MISSING)  # type: ignore[call-arg]  # settings of data have a root
    return Pretrain(model=cast(ModelSettings, model), data=data, out=cast(Path, tyro.MISSING))


def _asked(modality: Modality, words: list[str], default: Settings) -> Settings:
    """Apply the flags to some settings. Flags have no prefix: --size, and not --model.size."""
    name = getattr(default.model, "name", "")
    listed = ", ".join(methods_of(modality))
    text = (
        f"Pretrain on {modality.name} with method {name}. Values of None are chosen to fit data and machine.\n\n"
        f"--method NAME selects a method, whose settings are listed below: {listed}. --config FILE reads settings "
        "from a run's config.json; flags override them. --save-config FILE writes the settings and does not train. "
        "--import MODULE imports (runs) a module that defines parts."
    )
    subscript = getattr(Pretrain, "__class_getitem__")  # noqa: B009  # its parameters are known only now
    kind: type[Settings] = subscript((type(default.model), type(default.data)))
    return parse_flags(kind, words, prog=f"maskkit pretrain {modality.name}", default=default, description=text)


def _preset(modality: Modality, preset: str) -> tuple[str | None, str | None]:
    """Return the method and size of an old --preset, such as mae-tiny."""
    say("--preset is now --method and --size")
    if preset == "auto":
        return None, None
    known = methods_of(modality)
    for name in sorted(known, key=len, reverse=True):
        if preset == name:
            return name, None
        if preset.startswith(f"{name}-"):
            return name, preset.removeprefix(f"{name}-")
    raise ValueError(f"{modality.name} has no preset {preset!r}; choose --method from {', '.join(known)}, and --size")


def configured(modality: Modality, file: Path) -> Settings:
    """Read settings from a run's config.json or a file that --save-config wrote. Raises ValueError."""
    try:
        record = read_config(file, ("settings",))
    except HintError as error:
        raise ValueError(f"{file}: {error}; {MEND_CONFIG}") from None
    except ValueError as error:
        raise ValueError(f"{file} {error}; name the config.json of a run") from None
    if record.get("modality", modality.name) != modality.name:
        raise ValueError(f"{file} holds a run on {record['modality']}, not on {modality.name}; name another")
    settings = settings_from(record, modality, str(file))
    return replace(settings, resume=False)


def _run_of(words: Sequence[str]) -> str | None:
    """Return the value of --out before the other flags are parsed."""
    return take_flags(words, ("--out",))[1]["--out"]


def _say_vain(run: Settings, taken: dict[str, str | None]) -> None:
    """Report a --method that differs from that of the resumed run, and flags that only a new run uses."""
    name = getattr(run.model, "name", None)
    if taken["--method"] not in (None, name):
        say(f"a run keeps its method; not used: --method {taken['--method']} (the run has {name})")
    for flag in ("--config", "--preset"):
        if taken[flag] is not None:
            say(f"a run keeps its settings; not used: {flag} {taken[flag]}")


def save_settings(settings: Settings, modality: Modality, file: Path) -> None:
    """Write settings to a file that --config reads."""
    record = {
        "modality": modality.name,
        "method": getattr(settings.model, "name", None),
        "settings": plain(settings),
    }
    check_out(file, flag="--save-config")
    with whole_file(file) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    say(f"settings written: {file}")
