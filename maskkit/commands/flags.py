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
