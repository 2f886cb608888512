"""Helpers of all commands: shared flags, parsing, and importing modules that define parts."""

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from maskkit.commands.flags import refusals_in_one_line
from maskkit.files import make_folder
from maskkit.modality import Command
from maskkit.ranges import check_ranges

Model = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(metavar="MODEL", help="Folder of a run, as written by maskkit pretrain."),
]
Modules = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(
        name="import",
        metavar="MODULE",
        help="Python module that defines parts of the model, such as my_parts. Its code is run. Can be repeated.",
    ),
]


Kind = TypeVar("Kind", bound=Command)


def read_words(kind: type[Kind], name: str, words: list[str]) -> Kind:
    """Parse the arguments of a command into its settings. Raises ValueError if they are wrong."""
    if "" in words:  # as a path it would be the current folder
        raise ValueError(f"an argument of maskkit {name} is empty; give a value, or set the variable that holds it")
    with refusals_in_one_line(f"maskkit {name}"):
        settings = tyro.cli(kind, prog=f"maskkit {name}", args=words)
    check_ranges(settings)
    return settings


def check_out(path: Path, suffixes: Sequence[str] = (), flag: str = "--out") -> None:
    """Make the folder of a file to write, before the work whose result it will hold.

    Raises ValueError if the file cannot be written there, or ends in none of ``suffixes``.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"{flag} must end in {suffixes[0]}, got {path}")
    if path.is_dir():
        raise ValueError(f"{flag} {path} is a folder; name a file in it")
    if path.name == "config.json" and holds_run(path.parent):
        raise ValueError(f"{flag} {path} holds the settings of a run; choose another file")
    make_folder(path.parent)


def holds_run(folder: Path) -> bool:
    """Return whether a folder is that of a run, whose settings and model no command may write over."""
    return (folder / "config.json").is_file() and any((folder / n).exists() for n in ("metrics.jsonl", "checkpoints"))


def import_modules(names: tuple[str, ...]) -> None:
    """Import modules by name from installed packages or the current folder. Raises ValueError if that fails."""
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # an installed script has its own folder there
    for name in names:
        if not name or name.startswith("."):
            raise ValueError(f"--import needs the name of a module, such as my_parts, got {name!r}")
        try:
            importlib.import_module(name)
        except SyntaxError as error:
            where = f"{error.filename}, line {error.lineno}"
            raise ValueError(f"--import {name} failed: {error.msg} in {where}; correct it") from error
        except ModuleNotFoundError as error:
            if name.endswith(".py"):
                raise ValueError(f"--import {name}: name the module without .py: {name[:-3]}") from error
            missing = error.name or name
            if not f"{name}.".startswith(f"{missing}."):  # the module exists, but one of its imports does not
                raise ValueError(f"--import {name} failed: {error}") from error
            raise ValueError(
                f"--import {name}: there is no module {missing}; install it or run in its folder"
            ) from error
