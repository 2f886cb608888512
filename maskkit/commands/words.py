"""Helpers of all commands: parsing, and importing modules that define parts."""

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
    with refusals_in_one_line(f"maskkit {name}"):
        settings = tyro.cli(kind, prog=f"maskkit {name}", args=words)
    check_ranges(settings)
    return settings


def check_out(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Make the folder of a file to write, before the work whose result it will hold.

    Raises ValueError if the file cannot be written there, or ends in none of ``suffixes``.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise ValueError(f"--out must end in {suffixes[0]}, got {path}")
    if path.is_dir():
        raise ValueError(f"--out {path} is a folder; name a file in it")
    make_folder(path.parent)


def import_modules(names: tuple[str, ...]) -> None:
    """Import modules by name from installed packages or the current folder. Raises ValueError if that fails."""
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # an installed script has its own folder there
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if name.endswith(".py"):
                raise ValueError(f"--import {name}: name the module without .py: {name[:-3]}") from error
            missing = error.name or name
            if not f"{name}.".startswith(f"{missing}."):  # the module exists, but one of its imports does not
                raise ValueError(f"--import {name} failed: {error}") from error
            raise ValueError(
                f"--import {name}: there is no module {missing}; install it or run in its folder"
            ) from error
