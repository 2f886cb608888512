r"""Lines for the terminal.

Names of files, and texts from files and servers, may hold control characters. A terminal obeys them: they can move its
cursor, change what was printed, or write to the clipboard. They are printed as escapes, such as ``\x1b``.
"""

import logging
import re
import sys
from typing import TextIO

# Control characters, ends of lines and paragraphs, and marks that turn the direction of writing.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udc7f\udd00-\udfff]")


def printable(text: str) -> str:
    r"""Return a text in one line, with control characters as escapes.

    >>> printable("a\tb\x1b[2J")
    'a\\tb\\x1b[2J'
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def say(text: str) -> None:
    """Print a line for the user on stderr."""
    _print(text, sys.stderr)


def tell(text: str) -> None:
    """Print a line of results on stdout."""
    _print(text, sys.stdout)


def _print(text: str, stream: TextIO) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    print(printable(text).encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def guard_logging() -> None:
    """Print the messages of loggers that nobody has configured, those of libraries included, as ``say`` does."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(_OneLine())
