"""Parsing of flags into settings, with errors of one line."""

import contextlib
import io
import sys
from collections.abc import Sequence
from typing import TypeVar

import tyro

S = TypeVar("S")


def parse_flags(kind: type[S], words: Sequence[str], *, prog: str, default: S, description: str) -> S:
    """Return ``default`` with the flags in ``words`` applied. Flags have no prefix: --size, and not --model.size.

    Raises ValueError for a value that the settings refuse. Exits with code 2 for flags that do not exist.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                kind,
                prog=prog,
                args=list(words),
                default=default,
                description=description,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as exit_:
        refused = _refusal(exit_)
        if refused is not None:
            raise ValueError(refused) from None
        print(said.getvalue(), end="", file=sys.stderr)
        raise


def _refusal(error: BaseException) -> str | None:
    """Return the message of a ValueError that a settings class raised, which tyro wraps in its own error."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen) is ValueError:
            return str(seen)
        seen = seen.__cause__ or seen.__context__
    return None


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
