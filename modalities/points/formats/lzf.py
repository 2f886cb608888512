"""LZF, the compression of PCD files. Marc Lehmann's LibLZF: literal runs, and copies from up to 8 KiB back."""


def decompress(data: bytes, size: int) -> bytes:
    """Return the ``size`` bytes that were packed into ``data``. Raises ValueError for a damaged stream.

    >>> decompress(bytes([0, 97, 0x80, 0]), 7)
    b'aaaaaaa'
    """
    out = bytearray()
    place = 0
    try:
        while place < len(data) and len(out) <= size:
            control = data[place]
            place += 1
            if control < 32:  # control + 1 literal bytes
                out += data[place : place + control + 1]
                place += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += data[place]
                place += 1
            start = len(out) - ((control & 31) << 8) - data[place] - 1
            place += 1
            if start < 0:
                raise ValueError("its compressed data refer to what lies before them")
            chunk = out[start : start + length + 2]
            if len(chunk) < length + 2:  # the copy overlaps what it writes, and so repeats
                chunk = (chunk * ((length + 2) // len(chunk) + 1))[: length + 2]
            out += chunk
    except IndexError:
        raise ValueError("its compressed data end within a step") from None
    if len(out) != size:
        raise ValueError(f"its compressed data hold {len(out)} bytes, not the {size} that it claims")
    return bytes(out)
