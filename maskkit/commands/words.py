"""What all commands share: reading their words, printing, and importing modules that define parts."""

import importlib
import os
import sys
from typing import Annotated, Protocol, TypeVar

import tyro

Modules = Annotated[
    tuple[str, ...],
    tyro.conf.UseAppendAction,
    tyro.conf.arg(
        name="import",
        metavar="MODULE",
        help="Python module that defines parts of the model, such as my_parts; may be repeated. Its code is run.",
    ),
]


class Settings(Protocol):
    """Settings of a command."""

    def run(self) -> None:
        """Do what the command is for."""


Kind = TypeVar("Kind", bound=Settings)


def read_words(kind: type[Kind], name: str, words: list[str]) -> Kind:
    """Return the settings that the words on the command line make. Exits with code 2 where they do not."""
    return tyro.cli(kind, prog=f"maskkit {name}", args=words)


def import_modules(names: tuple[str, ...]) -> None:
    """Import modules by name, from the installed packages or the current folder. Raises ValueError where that fails."""
    if names and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # an installed script has its own folder there instead
    for name in names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            missing = error.name or name
            if not f"{name}.".startswith(f"{missing}."):  # the module was found, and lacks something else
                raise ValueError(f"--import {name} failed: {error}") from error
            raise ValueError(
                f"--import {name}: there is no module {missing}; install it or run in its folder"
            ) from error


def say(text: str) -> None:
    """Print a line for people, on stderr."""
    print(text, file=sys.stderr, flush=True)
