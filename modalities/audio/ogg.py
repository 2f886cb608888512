"""Ogg files that hold several streams one after the other, such as recordings that were joined. RFC 3533, section 4."""

import re
from typing import BinaryIO

_LATER_PAGE = re.compile(rb"OggS\0[\0\1\4\5]")  # the flags of a page that begins no stream
_FIRST_PAGE = re.compile(rb"OggS\0[\2\6]")


def ogg_start(file: str | BinaryIO) -> tuple[bytes, bool]:
    """Return the start of an Ogg file, empty for others, and whether a stream begins after others have begun.

    An open file is at its start again afterwards.
    """
    if isinstance(file, str):
        with open(file, "rb") as opened:
            return ogg_start(opened)
    content = file.read(4)
    if content == b"OggS":
        content += file.read()
    file.seek(0)
    if not content.startswith(b"OggS"):
        return b"", False
    later = _LATER_PAGE.search(content)
    return content[:64], later is not None and _FIRST_PAGE.search(content, later.end()) is not None
