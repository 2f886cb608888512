"""``maskkit pretrain MODALITY``: flags, a configuration file or a run's own settings become the settings of a run."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import tyro

from maskkit.commands.flags import parse_flags
from maskkit.commands.words import import_modules, say
from maskkit.engine.loop import pretrain
from maskkit.engine.restore import restore_settings, settings_from
from maskkit.engine.run import RunFolder, plain
from maskkit.engine.settings import DataSettings, ModelSettings, Pretrain, fitted, resumed
from maskkit.files import whole_file
from maskkit.methods import find_method, methods_of
from maskkit.modality import Modality, find_modality, modality_names

Settings = Pretrain[ModelSettings, DataSettings]


def main(words: Sequence[str]) -> int:
    """Read the words of ``maskkit pretrain MODALITY ...`` and train."""
    names = modality_names()
    wanted = f"maskkit pretrain {{{','.join(names)}}} --data PATH --out RUN"
    if not words or words[0] in ("-h", "--help"):
        print(f"{wanted}\n\nmaskkit pretrain {names[0]} --help lists the settings, maskkit methods the methods.")
        return 0
    if words[0] not in names:
        raise ValueError(f"maskkit cannot pretrain on {words[0]!r}; use {wanted}")
    rest, taken = take_flags(words[1:], ("--method", "--preset", "--config", "--save-config"))
    while "--import" in [word.partition("=")[0] for word in rest]:
        rest, module = take_flags(rest, ("--import",))
        import_modules((str(module["--import"]),))
    modality = find_modality(words[0])
    settings = parse(modality, rest, taken)
    if taken["--save-config"] is not None:
        _save(settings, modality, Path(taken["--save-config"]))
        return 0
    out = pretrain(settings, modality)
    say(f"done: model {out / 'model.safetensors'}, pictures {out / 'pictures'}, metrics {out / 'metrics.jsonl'}")
    return 0


def parse(modality: Modality, words: list[str], taken: dict[str, str | None]) -> Settings:
    """Return the settings of the run that the words ask for, with what they leave out chosen to fit."""
    where, resumes = _run_of(words), "--resume" in words
    folder = RunFolder(Path(where)) if where is not None else None
    if folder is not None and folder.started and not {"-h", "--help"} & set(words):
        if not resumes:
            raise ValueError(f"{where} already holds a run; choose another --out, or continue it with --resume")
        before = restore_settings(folder, modality)
        asked = _asked(modality, words, replace(before, out=folder.path))
        asked.check()
        _say_vain_method(modality, before, taken)
        return resumed(before, asked, say)
    settings = _asked(modality, words, _default(modality, taken))
    settings.check()
    if not settings.data.root and not getattr(settings.data, "list", None):
        raise ValueError("--data is missing; give a folder, glob, list file, array or tar shards")
    return fitted(settings, modality.fit(settings.model, settings.data, say), say)  # type: ignore[arg-type]


def take_flags(words: Sequence[str], names: Sequence[str]) -> tuple[list[str], dict[str, str | None]]:
    """Take some flags with one value each out of the words. Raises ValueError for a flag without a value."""
    rest, position = list[str](), 0
    values: dict[str, str | None] = dict.fromkeys(names)
    while position < len(words):
        name, equals, value = words[position].partition("=")
        if name in values and not equals:
            if position + 1 == len(words):
                raise ValueError(f"{name} needs a value")
            value, position = words[position + 1], position + 1
        if name in values:
            values[name] = value
        else:
            rest.append(words[position])
        position += 1
    return rest, values


def _default(modality: Modality, taken: dict[str, str | None]) -> Settings:
    """Return the settings that flags change: those of a configuration file, or of a method."""
    method, size = taken["--method"], None
    if taken["--preset"] is not None:
        method, size = _preset(modality, taken["--preset"])
    if taken["--config"] is not None:
        settings = _configured(modality, Path(taken["--config"]))
        if method is None or find_method(modality, method) is type(settings.model):
            return settings
        return replace(settings, model=find_method(modality, method)())
    kind = find_method(modality, method or next(iter(methods_of(modality))))
    model = kind() if size is None else kind(size=size)  # type: ignore[call-arg]  # presets have sizes
    data = modality.data(root=tyro.MISSING)  # type: ignore[call-arg]  # settings of data have a root
    return Pretrain(model=cast(ModelSettings, model), data=data, out=cast(Path, tyro.MISSING))


def _asked(modality: Modality, words: list[str], default: Settings) -> Settings:
    """Parse the flags over some settings. Flags have no prefix: --size, and not --model.size."""
    name = getattr(default.model, "name", "")
    listed = ", ".join(methods_of(modality))
    text = (
        f"Pretrain on {modality.name}: method {name}. What is left out is chosen to fit the data and the machine.\n\n"
        f"--method NAME chooses the method, and with it its settings below: {listed}. --config FILE reads settings "
        "from a run's config.json, and flags change them; --save-config FILE writes them and trains nothing. "
        "--import MODULE imports a module that defines parts or methods; its code is run."
    )
    subscript = getattr(Pretrain, "__class_getitem__")  # noqa: B009  # its parameters are known only now
    kind: type[Settings] = subscript((type(default.model), type(default.data)))
    return parse_flags(kind, words, prog=f"maskkit pretrain {modality.name}", default=default, description=text)


def _preset(modality: Modality, preset: str) -> tuple[str | None, str | None]:
    """Return method and size of an old --preset, such as mae-tiny."""
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


def _configured(modality: Modality, file: Path) -> Settings:
    """Read settings from a file: that of a run, or one that --save-config wrote."""
    try:
        record = json.loads(file.read_text())
    except OSError as error:
        raise ValueError(f"{file}: {(error.strerror or str(error)).lower()}; name a config.json") from None
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON ({error}); name a config.json") from None
    if not isinstance(record, dict) or not isinstance(record.get("settings"), dict):
        raise ValueError(f"{file} holds no settings; name the config.json of a run")
    if record.get("modality", modality.name) != modality.name:
        raise ValueError(f"{file} holds a run on {record['modality']}, not on {modality.name}; name another")
    settings = settings_from(record, modality, str(file))
    return replace(settings, resume=False)


def _save(settings: Settings, modality: Modality, file: Path) -> None:
    record = {
        "modality": modality.name,
        "method": getattr(settings.model, "name", None),
        "settings": plain(settings),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    say(f"settings written: {file}")


def _run_of(words: Sequence[str]) -> str | None:
    """Return the folder that --out names, before the flags are parsed."""
    return take_flags(words, ("--out",))[1]["--out"]


def _say_vain_method(modality: Modality, run: Settings, taken: dict[str, str | None]) -> None:
    """Say where another method is asked for than the run has."""
    name = getattr(run.model, "name", None)
    if taken["--method"] not in (None, name):
        say(f"a run keeps its method; not used: --method {taken['--method']} (the run has {name})")
