"""The members of a tar archive, found by reading its headers alone: POSIX (ustar, pax), GNU and older archives.

Python's ``tarfile`` treats a damaged header in the middle of an archive as its end, so that the rest is silently lost.
Here damage is reported with its offset, and reading continues at the next valid header.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512  # bytes; an archive is made of such blocks: a header, then contents filled up with zeros
_ZEROS = bytes(BLOCK)
_STRETCH = 2048  # blocks looked through at a time
_LONGEST = 1 << 17  # bytes of a pax header or a long name; more is damage, and would fill the memory

_FILES = (b"0", b"\0", b"7")
_NAMES = (b"L", b"x")  # their contents say the next member's name
_EMPTY = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folders, pipes
_NOTES = (b"K", b"g")  # a link's target, and what holds for all members: nothing that is needed
_ODD = {b"1": "a link, which is not followed", b"2": "a link, which is not followed", b"S": "a sparse member"}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, and the position of its contents in bytes.

    ``trouble`` is why it cannot be read.
    """

    name: bytes
    offset: int
    size: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """The offset, in bytes, at which an archive is damaged, and how."""

    offset: int
    reason: str


def members(descriptor: int) -> Iterator[Member | Damage]:
    """Yield the files of an open archive in their order, and the damage between them."""
    end, at, count, said = os.fstat(descriptor).st_size, 0, 0, _NOTHING
    while True:
        block = os.pread(descriptor, BLOCK, at)
        if block == _ZEROS:  # two of them end an archive, but archives may be chained, and a header may be wiped out
            after = _first(descriptor, at + BLOCK, written=True)
            if after is None:
                return
            at, block = after, os.pread(descriptor, BLOCK, after)
        try:
            header = _Header.parse(block, said)
            start = at + BLOCK
            if len(block) < BLOCK or start + header.size > end:
                yield Damage(at, f"truncated after {count} members" if end else "empty file")
                return
            if header.kind in _NAMES:
                said = _Said.parse(header.kind, os.pread(descriptor, header.size, start))
        except ValueError:
            yield Damage(at, _what_else(block) if at == 0 else f"the header at byte {at} is corrupt")
            after = _first(descriptor, at + BLOCK)
            if after is None:
                return
            at, said = after, _NOTHING
            continue
        at = start + -(-header.size // BLOCK) * BLOCK
        if header.kind in _FILES or header.kind in _ODD:
            count += 1
            yield Member(header.name, start, header.size, said.trouble or _ODD.get(header.kind, ""))
        if header.kind not in _NAMES + _NOTES:
            said = _NOTHING


@dataclass(frozen=True, slots=True)
class _Said:
    """What a pax header or a long name says about the member that follows."""

    name: bytes = b""
    size: int = -1
    trouble: str = ""

    @classmethod
    def parse(cls, kind: bytes, contents: bytes) -> "_Said":
        """Read a long name, or pax records: ``LENGTH KEY=VALUE`` and a line feed. Raises ValueError."""
        if kind == b"L":
            return cls(contents.rstrip(b"\0"))
        found = {}
        while contents:
            digits = contents.partition(b" ")[0]
            length = int(digits)
            if not len(digits) < length <= len(contents):
                raise ValueError("records that do not fit")
            key, _, value = contents[len(digits) + 1 : length - 1].partition(b"=")
            found[key] = value
            contents = contents[length:]
        sparse = any(key.startswith(b"GNU.sparse") for key in found)
        name = found.get(b"GNU.sparse.name") or found.get(b"path", b"")
        return cls(name, int(found.get(b"size", b"-1")), _ODD[b"S"] if sparse else "")


_NOTHING = _Said()


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    size: int
    kind: bytes

    @classmethod
    def parse(cls, block: bytes, said: _Said) -> "_Header":
        """Read a header. Raises ValueError if its bytes do not add up to the sum that it states."""
        if len(block) < BLOCK:  # the end of a file that is cut off
            return cls(b"", 0, b"")
        stated = _number(block[148:156])
        if stated != sum(block) - sum(block[148:156]) + 8 * ord(" "):
            raise ValueError("wrong checksum")
        kind = block[156:157]
        if kind in _NAMES + _NOTES:
            size = _number(block[124:136])
            if size > _LONGEST:
                raise ValueError("a name longer than any")
            return cls(b"", size, kind)
        name = _text(block[:100])
        if block[257:263] == b"ustar\0" and block[345]:  # GNU's "ustar " has times where POSIX has the folder
            name = _text(block[345:500]) + b"/" + name
        size = 0 if kind in _EMPTY else said.size if said.size >= 0 else _number(block[124:136])
        return cls(said.name or name, size, kind)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _number(field: bytes) -> int:
    """Octal digits, or after a byte 128 a binary number."""
    if field[0] == 128:
        return int.from_bytes(field[1:], "big")
    number = int(_text(field).strip() or b"0", 8)
    if number < 0:
        raise ValueError("a negative number")
    return number


def _first(descriptor: int, at: int, *, written: bool = False) -> int | None:
    """Find the first whole header at or behind ``at``; with ``written``, the first block that is not all zeros."""
    while stretch := os.pread(descriptor, _STRETCH * BLOCK, at):
        if not written or stretch.count(0) < len(stretch):
            for start in range(0, len(stretch), BLOCK):
                block = stretch[start : start + BLOCK]
                if block.count(0) < len(block) if written else _is_header(block):
                    return at + start
        at += len(stretch)
    return None


def _is_header(block: bytes) -> bool:
    if len(block) < BLOCK or block[257:262] != b"ustar":  # older archives have no mark, and nothing is found there
        return False
    try:
        _Header.parse(block, _NOTHING)
    except ValueError:
        return False
    return True


def _what_else(block: bytes) -> str:
    for name, mark in (("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd"), ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ")):
        if block.startswith(mark):
            return f"compressed with {name}, so that samples cannot be read at random; unpack the shard to plain .tar"
    return "not a tar archive, or its first header is corrupt"
