"""``maskkit pretrain``: train a model on a data set."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from maskkit.commands.open_run import read_record
from maskkit.commands.words import import_modules, say
from maskkit.modality import Modality, find_modality, modality_names

if TYPE_CHECKING:
    from maskkit.engine.run import DataSettings, ModelSettings, Pretrain

    Settings = Pretrain[ModelSettings, DataSettings]


def main(words: list[str]) -> int:
    """Read the words of ``maskkit pretrain MODALITY ...`` and train."""
    names = modality_names()
    wanted = f"maskkit pretrain {{{','.join(names)}}} --data PATH --out RUN"
    if not words or words[0] in ("-h", "--help"):
        print(f"{wanted}\n\nmaskkit pretrain {names[0]} --help lists the settings.")
        return 0
    if words[0] not in names:
        raise ValueError(f"maskkit cannot pretrain on {words[0]!r}; use {wanted}")
    modules, rest = _take_imports(words[1:])
    import_modules(modules)
    run(find_modality(words[0]), rest)
    return 0


def run(modality: Modality, words: list[str]) -> None:
    """Choose the settings of a run, or read those of the run to resume, and train."""
    import tyro

    command = tyro.cli(modality.command, prog=f"maskkit pretrain {modality.name}", args=words)
    command.check()

    from maskkit.engine.loop import pretrain
    from maskkit.engine.run import RunFolder

    folder = RunFolder(Path(command.out))
    if command.resume and folder.started:
        record = read_record(folder.path)
        if record["modality"] != modality.name:
            raise ValueError(
                f"{command.out} holds a run on {record['modality']}; resume it as that, not as {modality.name}"
            )
        before = modality.restore(cast("dict[str, object]", record["settings"]))
        settings = cast("Settings", command.resumed(before, say))
    else:
        if folder.started:
            raise ValueError(f"{command.out} already holds a run; choose another --out, or continue it with --resume")
        settings = replace(cast("Settings", command.settings(say)), resume=command.resume)
    out = pretrain(settings, modality)
    say(f"done: model {out / 'model.safetensors'}, pictures {out / 'pictures'}, metrics {out / 'metrics.jsonl'}")


def _take_imports(words: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Take ``--import MODULE`` out of the words, since a modality's own options do not have it."""
    modules, rest = [], []
    left = iter(words)
    for word in left:
        if word == "--import":
            module = next(left, None)
            if module is None:
                raise ValueError("--import needs the name of a module")
            modules.append(module)
        elif word.startswith("--import="):
            modules.append(word.removeprefix("--import="))
        else:
            rest.append(word)
    if {"-h", "--help"} & set(rest):
        print("--import MODULE  Python module that defines parts of the model; may be repeated. Its code is run.\n")
        sys.stdout.flush()
    return tuple(modules), rest
