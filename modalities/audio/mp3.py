"""The length of an MP3 file whose header does not say it. ISO/IEC 11172-3, section 2.4.2.3, and 13818-3.

libsndfile guesses it from the bit rate of the first frame. If the bit rate changes, it reads a part of the file, or
finds it truncated (libsndfile#1001).
"""

import io
from typing import BinaryIO, NamedTuple

# kilobits per second by index, of layer III: MPEG 1, then MPEG 2 and 2.5
_BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by version bits
_LOOK = 65536  # bytes after the ID3 tag in which a first frame is looked for
_TOLD = (b"Xing", b"Info", b"VBRI")  # tags in the first frame that say how many frames follow


class _Frame(NamedTuple):
    size: int
    """Bytes of the frame, header included."""
    tag: int
    """Place of a tag in the frame: after the header and the side information."""


def with_length(content: bytes) -> io.BytesIO | None:
    """Return a file of ``lacks_length`` with a frame in front that says how many follow; None if it holds no frame."""
    start = _next_frame(content, _after_id3(content))
    first = None if start is None else _frame(content, start)
    if start is None or first is None:
        return None
    head = content[start : start + 4]
    if any(tag in content[start : start + first.size] for tag in _TOLD):
        start += first.size  # a tag that counts only a part; it has no sound
    count, place, end = 0, start, start
    while (frame := _frame(content, place)) is None or place + frame.size <= len(content):
        if frame is None:  # another tag, or damage
            found = _next_frame(content, place + 1)
            if found is None:
                break
            place = found
            continue
        count, place = count + 1, place + frame.size
        end = place
    told = bytearray(first.size)
    told[:4] = head
    tag = b"Info" + (3).to_bytes(4, "big") + count.to_bytes(4, "big") + (end - start + first.size).to_bytes(4, "big")
    if first.tag + len(tag) > first.size:
        return None
    told[first.tag : first.tag + len(tag)] = tag
    return io.BytesIO(bytes(told) + content[start:end])


def lacks_length(file: BinaryIO) -> bool:
    """Return whether an open file is an MP3 that does not say its length. It is at its start again afterwards."""
    start = file.read(10)
    file.seek(_after_id3(start))
    head = file.read(_LOOK)
    file.seek(0)
    if not start.startswith(b"ID3") and _frame(start, 0) is None:
        return False
    place = _next_frame(head, 0)
    frame = None if place is None else _frame(head, place)
    if place is None or frame is None:
        return False
    if not any(tag in head[place : place + frame.size] for tag in _TOLD):
        return True
    return _goes_on(file, _after_id3(start) + place, head[place + frame.tag : place + frame.size])


def _goes_on(file: BinaryIO, start: int, tag: bytes) -> bool:
    """Return whether frames follow what a Xing or Info tag counts, in bytes from ``start``: another file was joined."""
    flags = int.from_bytes(tag[4:8], "big")
    if tag[:4] not in (b"Xing", b"Info") or not flags & 2:
        return False
    place = 8 + (4 if flags & 1 else 0)
    file.seek(start + int.from_bytes(tag[place : place + 4], "big"))
    rest = file.read(_LOOK)
    file.seek(0)
    after = _after_id3(rest)
    frame = _frame(rest, after)
    return frame is not None and _frame(rest, after + frame.size) is not None


def _after_id3(content: bytes) -> int:
    """Return where an ID3v2 tag ends: its size has seven bits in each byte."""
    if not content.startswith(b"ID3") or len(content) < 10:
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(content[6:10], (21, 14, 7, 0), strict=True))


def _next_frame(content: bytes, place: int) -> int | None:
    """Return the next place where a frame begins that another one follows, or that ends the file."""
    while (place := content.find(b"\xff", place)) >= 0:
        frame = _frame(content, place)
        if frame is not None:
            after = place + frame.size
            if after == len(content) or _frame(content, after) is not None:
                return place
        place += 1
    return None


def _frame(content: bytes, place: int) -> _Frame | None:
    """Parse the four bytes of a frame's header; None if they are not those of layer III."""
    head = content[place : place + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0 or (head[1] >> 1) & 3 != 1:
        return None
    version, bit_index, rate_index = (head[1] >> 3) & 3, head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or not 0 < bit_index < 15 or rate_index == 3:
        return None
    newest = version == 3
    bits = _BIT_RATES[not newest][bit_index] * 1000
    size = (144 if newest else 72) * bits // _SAMPLE_RATES[version][rate_index] + ((head[2] >> 1) & 1)
    mono = head[3] >> 6 == 3
    side = (17 if mono else 32) if newest else (9 if mono else 17)
    return _Frame(size, 4 + side)
