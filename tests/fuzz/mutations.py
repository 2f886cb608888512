"""Damage to files: what storage, networks and other people's programs do to them, and what an attacker would do."""

import random
from collections.abc import Callable
from typing import Literal

# Numbers at which lengths and counts go wrong.
EXTREMES = (0, -1, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)
_ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
TOKENS = (b"nan", b"-nan", b"inf", b"-inf", b"1e400", b"1e-400", b"1e15", b"-1", b"0", b"9" * 40, b"0x10", b"1_0")
TOKENS += (b"1,5", b"", b" ", b"\n", b"\r", b"\0", b"#", b"\xff\xfe", b"\xef\xbb\xbf", b"'", b"a" * 5000, b"7 " * 5000)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """Return a damaged copy. The same state of ``rng`` gives the same copy."""
    text = _is_text(content)
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if changed:
            change = rng.choice(_OF_TEXT if text and rng.random() < 0.7 else _OF_BYTES)
            change(changed, rng)
    return bytes(changed)


def _is_text(content: bytes) -> bool:
    return all(byte < 128 for byte in content[:64]) and b"\0" not in content[:64]


def _place(content: bytearray, rng: random.Random) -> int:
    """Return a place; half of all lie in the first 256 bytes, where most headers are."""
    return rng.randrange(min(len(content), 256) if rng.random() < 0.5 else len(content))


def _block(content: bytearray, rng: random.Random) -> slice:
    start = _place(content, rng)
    return slice(start, start + rng.choice((1, 2, 4, 8, 16, 64, 256, 1024)))


def _flip_bit(content: bytearray, rng: random.Random) -> None:
    content[_place(content, rng)] ^= 1 << rng.randrange(8)


def _set_byte(content: bytearray, rng: random.Random) -> None:
    content[_place(content, rng)] = rng.randrange(256)


def _cut(content: bytearray, rng: random.Random) -> None:
    del content[_place(content, rng) :]


def _drop_start(content: bytearray, rng: random.Random) -> None:
    del content[: min(rng.randrange(1, 64), len(content) - 1)]


def _set_number(content: bytearray, rng: random.Random) -> None:
    """Set what may be a length or a count: two to eight bytes in either order."""
    size = rng.choice((2, 4, 4, 8))
    order = rng.choice(_ORDERS)
    place = _place(content, rng)
    if rng.random() < 0.3:
        place = place // size * size
    old = int.from_bytes(content[place : place + size], order)
    new = rng.choice(EXTREMES) if rng.random() < 0.7 else old + rng.choice((-2, -1, 1, 2, 255, 256))
    if rng.random() < 0.1:
        new = old * rng.choice((2, 16, 1000))
    packed = (new % 2 ** (8 * size)).to_bytes(size, order)
    content[place : place + size] = packed[: max(len(content) - place, 0)]


def _duplicate(content: bytearray, rng: random.Random) -> None:
    block = content[_block(content, rng)]
    place = _place(content, rng)
    content[place:place] = block * rng.choice((1, 1, 2, 20))


def _swap(content: bytearray, rng: random.Random) -> None:
    first, second = _block(content, rng), _place(content, rng)
    block = content[first]
    other = content[second : second + len(block)]
    content[second : second + len(block)] = block[: len(other)]
    content[first.start : first.start + len(other)] = other


def _zero(content: bytearray, rng: random.Random) -> None:
    block = _block(content, rng)
    content[block] = bytes([rng.choice((0, 0, 255))]) * len(content[block])


def _insert(content: bytearray, rng: random.Random) -> None:
    place = _place(content, rng)
    content[place:place] = rng.randbytes(rng.choice((1, 2, 7, 100)))


def _remove(content: bytearray, rng: random.Random) -> None:
    block = _block(content, rng)
    if len(content[block]) < len(content):
        del content[block]


def _set_word(content: bytearray, rng: random.Random) -> None:
    """Put another token in place of a word of the text."""
    start = _place(content, rng)
    while start and not content[start - 1 : start].isspace():
        start -= 1
    end = start
    while end < len(content) and not content[end : end + 1].isspace():
        end += 1
    content[start:end] = rng.choice(TOKENS)


def _number_of_text(content: bytearray, rng: random.Random) -> None:
    """Put an extreme number in place of a word of the text."""
    start = _place(content, rng)
    end = start + 1
    while end < len(content) and not content[end : end + 1].isspace():
        end += 1
    content[start:end] = str(rng.choice(EXTREMES)).encode()


def _repeat_line(content: bytearray, rng: random.Random) -> None:
    start = content.rfind(b"\n", 0, _place(content, rng)) + 1
    end = content.find(b"\n", start) + 1 or len(content)
    content[start:start] = content[start:end] * rng.choice((1, 3, 200))


def _drop_line(content: bytearray, rng: random.Random) -> None:
    start = content.rfind(b"\n", 0, _place(content, rng)) + 1
    end = content.find(b"\n", start) + 1 or len(content)
    if end - start < len(content):
        del content[start:end]


Change = Callable[[bytearray, random.Random], None]
_OF_BYTES: tuple[Change, ...] = (
    *(_flip_bit, _set_byte, _cut, _drop_start, _set_number, _set_number, _set_number),
    *(_duplicate, _swap, _zero, _insert, _remove),
)
_OF_TEXT: tuple[Change, ...] = (_set_word, _set_word, _number_of_text, _repeat_line, _drop_line)
