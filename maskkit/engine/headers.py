"""The members of a tar archive, found by reading its headers alone: POSIX (ustar, pax), GNU and older archives.

Python's ``tarfile`` takes a header that is damaged in the middle of an archive for the archive's end, so that the rest
is lost without a word. Here damage is reported where it lies, and reading goes on at the next header that is whole.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 512  # bytes; an archive is made of such blocks: a header, then contents filled up with zeros
_ZEROS = bytes(BLOCK)
_STRETCH = 2048  # blocks looked through at a time
_LONGEST = 1 << 20  # bytes of a pax header or a long name; more is damage, and would fill the memory

_FILES = (b"0", b"\0", b"7")
_NAMES = (b"L", b"x")  # their contents say the next member's name
_NOTES = (b"K", b"g")  # a link's target, and what holds for all members: nothing that is needed
_ODD = {b"1": "a link, which is not followed", b"2": "a link, which is not followed", b"S": "a sparse member"}


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, and where its contents lie in bytes. ``trouble`` says why it cannot be read."""

    name: bytes
    offset: int
    size: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Damage:
    """A place, in bytes, at which an archive stops making sense, and how."""

    offset: int
    reason: str


def members(descriptor: int) -> Iterator[Member | Damage]:
    """Find the files of an open archive, in the order in which they lie there, and what is damaged between them."""
    end, at, count = os.fstat(descriptor).st_size, 0, 0
    name, size_said = b"", -1  # by a pax header, for the member that follows
    while True:
        block = os.pread(descriptor, BLOCK, at)
        if block == _ZEROS:  # two of them end an archive, but archives may be chained, and a header may be wiped out
            after = _first(descriptor, at + BLOCK, written=True)
            if after is None:
                return
            at, block = after, os.pread(descriptor, BLOCK, after)
        if len(block) < BLOCK:
            yield Damage(at, f"truncated after {count} members" if end else "empty file")
            return
        try:
            header = _Header.parse(block)
            size = size_said if size_said >= 0 else header.size
            extra = header.kind in _NAMES + _NOTES
            if extra and size > _LONGEST:
                raise ValueError("a name of megabytes")
            start, following = at + BLOCK, at + BLOCK + -(-size // BLOCK) * BLOCK
            if start + size > end:
                yield Damage(at, f"truncated after {count} members")
                return
            if header.kind in _NAMES:
                contents = os.pread(descriptor, size, start)
                name, size_said = _pax(contents) if header.kind == b"x" else (contents.rstrip(b"\0"), -1)
        except ValueError:
            after = _first(descriptor, at + BLOCK)
            yield Damage(at, _what_else(block) if at == 0 else f"the header at byte {at} is corrupt")
            if after is None:
                return
            at, name, size_said = after, b"", -1
            continue
        at = following
        if extra:
            continue
        if header.kind in _FILES or header.kind in _ODD:
            count += 1
            yield Member(name or header.name, start, size, _ODD.get(header.kind, ""))
        name, size_said = b"", -1


@dataclass(frozen=True, slots=True)
class _Header:
    name: bytes
    size: int
    kind: bytes

    @classmethod
    def parse(cls, block: bytes) -> "_Header":
        """Read a header. Raises ValueError where its bytes do not add up to the sum that it states."""
        stated = _number(block[148:156])
        if stated != sum(block) - sum(block[148:156]) + 8 * ord(" "):
            raise ValueError("wrong checksum")
        name, prefix = _text(block[:100]), b""
        if block[257:263] == b"ustar\0":  # GNU's "ustar " has times where POSIX has the folder
            prefix = _text(block[345:500])
        kind = block[156:157]
        size = _number(block[124:136]) if kind not in b"123456" else 0
        return cls(prefix + b"/" + name if prefix else name, size, kind)


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


def _pax(records: bytes) -> tuple[bytes, int]:
    """Name and size, where a pax header states them; each record is ``LENGTH KEY=VALUE`` and a line feed."""
    name, size = b"", -1
    while records:
        digits = records.partition(b" ")[0]
        length = int(digits)
        if not len(digits) < length <= len(records):
            raise ValueError("records that do not fit")
        key, _, value = records[len(digits) + 1 : length - 1].partition(b"=")
        if key == b"path":
            name = value
        elif key == b"size":
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise ValueError("a sparse member")
        records = records[length:]
    return name, size


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
        _Header.parse(block)
    except ValueError:
        return False
    return True


def _what_else(block: bytes) -> str:
    for name, mark in (("gzip", b"\x1f\x8b"), ("zstd", b"\x28\xb5\x2f\xfd"), ("bzip2", b"BZh"), ("xz", b"\xfd7zXZ")):
        if block.startswith(mark):
            return f"compressed with {name}, so that samples cannot be read at random; unpack the shard to plain .tar"
    return "not a tar archive, or its first header is corrupt"
