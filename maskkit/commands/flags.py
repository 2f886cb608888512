"""Parsing of flags into settings, with errors of one line."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

import tyro

S = TypeVar("S")


def parse_flags(
    kind: type[S],
    words: Sequence[str],
    *,
    default: S,
    description: str | None,
    prog: str = "",
    prefixes: bool = False,
) -> S:
    """Return ``default`` with the flags in ``words`` applied. Flags have no prefix (--size) or one (--model.size).

    ``prog`` is the name of the program, by default that of the script. Raises ValueError for flags that do not exist
    and for values that the settings refuse.
    """
    prog = prog or sys.argv[0]
    with refusals_in_one_line(prog):
        return tyro.cli(
            kind,
            prog=prog,
            args=list(words),
            default=default,
            description=description,
            config=() if prefixes else (tyro.conf.OmitArgPrefixes,),
        )


@contextlib.contextmanager
def refusals_in_one_line(prog: str) -> Iterator[None]:
    """Turn what tyro prints about wrong flags, a box of several lines, into a ValueError with one line."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            yield
    except SystemExit as exit_:
        if not exit_.code:  # --help
            raise
        raise ValueError(_refusal(exit_) or _one_line(said.getvalue(), prog)) from None


def _refusal(error: BaseException) -> str | None:
    """Return the message of a ValueError that a settings class raised, which tyro wraps in its own error."""
    seen: BaseException | None = error
    while seen is not None:
        if type(seen) is ValueError and not _raised_in(seen).startswith("tyro."):
            return str(seen)
        seen = seen.__cause__ or seen.__context__
    return None


def _raised_in(error: BaseException) -> str:
    """Return the name of the module that raised an error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else str(frame.tb_frame.f_globals.get("__name__", ""))


def _one_line(box: str, prog: str) -> str:
    """Return the text of one of tyro's error boxes without borders, repeated help and line breaks.

    The box has a title and sections with a row of dashes between them. Borders are ASCII, Unicode or none.
    """
    framed = box.startswith(("╭", "+"))  # otherwise the title and a row of dashes come first
    rows = [row.strip("|│ ") for row in box.splitlines()[0 if framed else 2 :] if row[:1] not in "╭╰+"]
    wrong, missing = list[str](), list[str]()
    for section in re.split(r"\n[─-]{5,}\n", "\n".join(rows)):
        head, *body = [row for row in section.split("\n") if row] or [""]
        named = [row.partition(",")[0].split()[0] for row in body if re.match(r"--|[A-Z_]+$", row)]
        if head.startswith("Missing from"):
            missing.append(f"{', '.join(named)} must be given")
        elif head.startswith("Perhaps you meant"):
            wrong[-1] += f" (did you mean {' or '.join(named)}?)"
        elif head and not head.startswith(("For full helptext", "Argument helptext")):
            wrong.append(" ".join([head, *body]).partition(" Got errors:")[0].removesuffix("."))
    text = re.sub(
        r"Error parsing (\S+): no type matching (?:{None}\|)?(.*) could be instantiated from \['(.*)'\]",
        r"\1 \3: the value must be \2",
        "; ".join(wrong + missing),
    )
    choices = re.search(r"\((?:'[^']*',? ?)+\)|\(choose from [^)]*\)", text)
    if choices is not None:  # a set's order differs from call to call, and None is no word to type
        words = sorted(set(re.findall(r"'([^']*)'", choices[0])) - {"None"})
        text = f"{text[: choices.start()]}{', '.join(words)}{text[choices.end() :]}"
    unknown = text.partition("Unrecognized options: ")[2].split("; ")[0].split(", ")
    if len(unknown) > 1 and os.path.exists(unknown[0]):
        text = f"{len(unknown)} paths follow {unknown[0]}; quote a pattern, so that the shell does not expand it"
    return f"{text}; see {prog} --help"


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
