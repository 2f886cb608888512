"""Images by Pillow, 13 x 9 pixels; formats that it does not write are written by hand."""

import io
import struct

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from tests.fuzz.seeds.arrays import hdf5, npy, npz

WIDTH, HEIGHT = 13, 9
RGB = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
COLOUR = Image.fromarray(RGB)
GREY = COLOUR.convert("L")
DEEP = Image.fromarray(RGB[..., 0].astype(np.uint16) * 257)
FLOAT = Image.fromarray(RGB[..., 0].astype(np.float32) / 7)
CLEAR = COLOUR.convert("RGBA")
CLEAR.putalpha(GREY)


def seeds() -> dict[str, bytes]:
    """Return images of all suffixes."""
    return {**_jpegs(), **_pngs(), **_tiffs(), **_others(), **_arrays()}


def _jpegs() -> dict[str, bytes]:
    exif = Image.Exif()
    exif[0x0112] = 6
    colour = _saved(COLOUR, "JPEG", exif=exif)
    return {
        "colour.jpg": colour,
        "grey.jpeg": _saved(GREY, "JPEG"),
        "progressive.jpe": _saved(COLOUR, "JPEG", progressive=True),
        "cmyk.jfif": _saved(COLOUR.convert("CMYK"), "JPEG"),
        "two.mpo": _saved(COLOUR, "MPO", save_all=True, append_images=[COLOUR]),
    }


def _pngs() -> dict[str, bytes]:
    frames = [COLOUR, COLOUR.rotate(180)]
    return {
        "colour.png": _saved(COLOUR, "PNG"),
        "clear.png": _saved(CLEAR, "PNG"),
        "palette.png": _saved(COLOUR.convert("P"), "PNG", transparency=3),
        "deep.png": _saved(DEEP, "PNG", transparency=257),
        "two.png": _saved(GREY.convert("1"), "PNG"),
        "moving.apng": _saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "moving.gif": _saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40),
    }


def _tiffs() -> dict[str, bytes]:
    return {
        "raw.tif": _saved(COLOUR, "TIFF"),
        "lzw.tif": _saved(COLOUR, "TIFF", compression="tiff_lzw"),
        "deflate.tiff": _saved(CLEAR, "TIFF", compression="tiff_adobe_deflate"),
        "jpeg.tiff": _saved(COLOUR, "TIFF", compression="jpeg"),
        "packbits.tif": _saved(GREY, "TIFF", compression="packbits"),
        "deep.tif": _saved(DEEP, "TIFF"),
        "float.tif": _saved(FLOAT, "TIFF"),
        "pages.tif": _saved(GREY, "TIFF", save_all=True, append_images=[GREY]),
        "colour_deep.tif": _written(RGB.astype(np.uint16) * 257, photometric="rgb"),
        "big.tif": _written(RGB.astype(np.float32) / 255, photometric="rgb", bigtiff=True, compression="deflate"),
        "planar.tiff": _written(np.moveaxis(RGB, 2, 0).astype(np.uint16), photometric="rgb", planarconfig="separate"),
        "tiles.tif": _written(np.tile(RGB, (2, 2, 1)).astype(np.int16), photometric="rgb", tile=(16, 16)),
    }


def _others() -> dict[str, bytes]:
    found = {
        "lossy.webp": _saved(COLOUR, "WEBP"),
        "lossless.webp": _saved(CLEAR, "WEBP", lossless=True),
        "colour.bmp": _saved(COLOUR, "BMP"),
        "palette.bmp": _saved(COLOUR.convert("P"), "BMP"),
        "grey.dib": _saved(GREY, "DIB"),
        "colour.ppm": _saved(COLOUR, "PPM"),
        "grey.pgm": _saved(GREY, "PPM"),
        "deep.pgm": _saved(DEEP, "PPM"),
        "two.pbm": _saved(GREY.convert("1"), "PPM"),
        "plain.pnm": f"P3 {WIDTH} {HEIGHT} 255\n{' '.join(map(str, RGB.flatten()))}\n".encode(),
        "float.pfm": _saved(FLOAT, "PPM"),
        "colour.qoi": _qoi(),
    }
    Image.init()
    if "AVIF" in Image.SAVE:
        found["colour.avif"] = _saved(COLOUR, "AVIF")
    if "JPEG2000" in Image.SAVE:
        found |= dict.fromkeys(("a.jp2", "b.jpf", "c.jpx"), _saved(COLOUR, "JPEG2000", no_jp2=False))
        found["d.j2k"] = _saved(COLOUR, "JPEG2000", no_jp2=True)
    return found


def _arrays() -> dict[str, bytes]:
    several = np.stack([RGB, RGB[::-1]])
    return {
        "colour.npy": npy(several),
        "float.npy": npy(several.astype(np.float32)),
        "labels.npz": npz(images=several, labels=np.arange(2)),
        "packed.npz": npz(compressed=True, images=np.moveaxis(several, 3, 1)),
        **hdf5("packed.hdf5", packed=True, images=several),
    }


def _saved(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _written(values: NDArray[np.generic], **options: object) -> bytes:
    """Return a TIFF with more than 8 bits in three channels, which Pillow does not write."""
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def _qoi() -> bytes:
    pixels = b"".join(b"\xfe" + bytes(pixel) for pixel in RGB.reshape(-1, 3))
    return b"qoif" + struct.pack(">IIBB", WIDTH, HEIGHT, 3, 0) + pixels + bytes(7) + b"\1"
