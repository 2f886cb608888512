"""Files of a few kilobytes that decode to more than a sample may take; read in a child process that is measured."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from tests.fuzz.child import SAMPLE_MIB
from tests.fuzz.seeds import seeds
from tests.fuzz.seeds.arrays import npy, npz
from tests.fuzz.watch import Case, Reader

MIB = 2**20


def picture(kind, mode, width, **options):
    """Return a maker of pictures of as many bytes as readers count, ``width`` a pixel."""

    def write(size):
        frames = [Image.new(mode, (4000, size // width // 4000), value) for value in (0, 1)]
        file = io.BytesIO()
        if kind == "GIF":
            options["append_images"] = frames[1:]
        frames[0].save(file, kind, save_all=kind == "GIF", **options)
        return file.getvalue()

    return write


def array(write, width, *shape, **options):
    """Return a maker of arrays of so many bytes, ``width`` a number, as [... shape]."""

    def make(size):
        zeros = np.zeros((size // width // int(np.prod(shape)), *shape), dtype=np.uint8)
        return npz(compressed=True, x=zeros[None]) if write is npz else write(zeros.astype(np.float32))

    return make


def pcd(size):
    """Zeros, packed as one literal and copies of it."""
    count = size // 24 // 22 * 22  # 264 bytes, of which one copy has as many
    packed = b"\0\0" + b"\xe0\xff\0" * (count * 12 // 264 - 1) + b"\xe0\xfe\0"
    content = seeds("points")["compressed.pcd"].partition(b"binary_compressed\n")[0] + b"binary_compressed\n"
    content = content.replace(b"WIDTH 24", b"WIDTH %d" % count).replace(b"POINTS 24", b"POINTS %d" % count)
    return content + struct.pack("<II", len(packed), count * 12) + packed


def wav(size):
    """A header of 64 channels and 500,000 samples a second."""
    sound = bytes(size // 2)  # 16 bits become 32
    form = struct.pack("<HHIIHH", 1, 64, 500_000, 64_000_000, 128, 16)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", len(sound)) + sound
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


CASES = {
    "colour.png": ("image", picture("PNG", "RGB", 3)),
    "palette.png": ("image", picture("PNG", "P", 6, transparency=0)),
    "deep.png": ("image", picture("PNG", "I;16", 4)),
    "clear.webp": ("image", picture("WEBP", "RGBA", 6, lossless=True)),
    "float.tif": ("image", picture("TIFF", "F", 12, compression="tiff_lzw")),
    "still.gif": ("image", picture("GIF", "P", 4)),
    "moving.gif": ("video", picture("GIF", "P", 4)),
    "one.npz": ("image", array(npz, 1, 1000, 3)),
    "clips.npz": ("video", array(npz, 1, 1000, 1000)),
    "points.npz": ("points", array(npz, 8, 3)),
    "points.npy": ("points", array(npy, 8, 3)),
    "packed.pcd": ("points", pcd),
    "many.wav": ("audio", wav),
}


@pytest.fixture(scope="module")
def child(tmp_path_factory):
    with Reader(
        "image", tmp_path_factory.mktemp("large"), [Case("a.png", seeds("image")["colour.png"], "train")]
    ) as read:
        yield read


@pytest.mark.parametrize("name", CASES)
def test_a_file_just_below_the_limit_is_read_and_one_above_is_refused(child, name):
    """Neither takes more than four times the limit; the child would tell."""
    child.modality, write = CASES[name]
    below = child.read(Case(name, write(int(0.95 * SAMPLE_MIB) * MIB), "train"))
    above = child.read(Case(name, write(2 * SAMPLE_MIB * MIB), "train"))
    assert not below.failed and "more than the limit" not in below.detail, below
    assert above.kind in ("bad sample", "refused") and "more than the limit of 0.03125 GiB" in above.detail, above
