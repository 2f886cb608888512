"""Ogg files that hold several streams one after the other, such as recordings that were joined. RFC 3533, section 4."""

import os
import re
from typing import BinaryIO

_LATER_PAGE = re.compile(rb"OggS\0[\0\1\4\5]")  # the flags of a page that begins no stream
_FIRST_PAGE = re.compile(rb"OggS\0[\2\6]")
_STREAM = re.compile(rb"OggS\0.{9}(.{4})", re.DOTALL)  # a page, and the number of its stream
_WHOLE = 2**25  # bytes; of larger files only the ends are read
_EDGE = 2**17  # two pages of the largest size


def ogg_start(file: str | BinaryIO) -> tuple[bytes, bool]:
    """Return the start of an Ogg file, empty for others, and whether a stream begins after others have begun.

    Of a file above 32 MiB the last page is compared with the first ones: streams have numbers of their own, unless a
    file was joined to itself. An open file is at its start again afterwards.
    """
    if isinstance(file, str):
        with open(file, "rb") as opened:
            return ogg_start(opened)
    is_ogg = file.read(4) == b"OggS"
    size = file.seek(0, os.SEEK_END) if is_ogg else 0
    file.seek(0)
    content = file.read(_EDGE if size > _WHOLE else size)
    if size > _WHOLE:
        file.seek(size - _EDGE)
        last = _STREAM.findall(file.read())[-1:]
        chained = not set(last) <= set(_STREAM.findall(content))
    else:
        later = _LATER_PAGE.search(content)
        chained = later is not None and _FIRST_PAGE.search(content, later.end()) is not None
    file.seek(0)
    return content[:64], chained
