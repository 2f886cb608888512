"""Reading of an image file, or a frame of a video, as a uint8 tensor [C H W], and of its header.

Shapes: C channels, H W height and width in pixels.
"""

import io
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskkit.data import tiff
from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError, short_reason

# The content of a file determines its format. Excluded are formats of Pillow that start another program (EPS) and those
# without a signature (TGA), which would accept any file.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "QOI")

# Transforms of EXIF orientations. ImageOps.exif_transpose does the same, but fails if it cannot write EXIF back.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
_ORIENTATION = 0x0112
_PHOTOMETRIC, _MIN_IS_WHITE = 0x0106, 0
_BITS, _SAMPLE_FORMAT, _UNSIGNED, _SIGNED = 0x0102, 0x0153, 1, 2
_MAX_SAMPLE_VALUE = 0x0119

# Pillow warns about large images and invalid metadata at every read, which would fill a training log. Images above
# twice Image.MAX_IMAGE_PIXELS (179 million pixels) raise an error and are bad samples.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(file: BinaryIO, path: str, channels: int, min_side: int | None) -> UInt8[Tensor, "C H W"]:
    """Read and close an open image file: 1 channel is luminance (ITU-R 601), 3 are RGB, 4 are RGBA.

    The image is rotated according to EXIF. An animation gives its first frame, a TIFF its first page. For 1 and 3
    channels, transparent parts are composited on white: the stored colours of such pixels are arbitrary, often black,
    and dropping alpha, as ``convert("RGB")`` does, would show them. 16-bit values are scaled so that 65535 becomes 255
    (colour: Pillow keeps the high byte); a TIFF may hold 12 or 14 bits. 32-bit integers and floats have no defined
    range, so each image is scaled from its minimum (0) to its maximum (255).

    ``min_side`` (pixels) allows JPEGs to be decoded at 1/2, 1/4 or 1/8 of their size, several times faster, as long as
    both sides stay at least twice ``min_side``. ``path`` names the file in errors. Raises BadSampleError.
    """
    with _opened(file, path) as image:
        if min_side is not None:
            image.draft(None, (2 * min_side, 2 * min_side))
        _load(image, path)
        turn = _TURNS.get(_orientation(image))
        image = in_channels(image, path, channels)
        pixels = np.array(image.transpose(turn) if turn is not None else image)
    tensor = torch.from_numpy(pixels)
    # A view with interleaved pixels, as Pillow stores them: torchvision resizes it faster, and no copy is made.
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def decode_whole(file: BinaryIO, path: str, channels: int) -> Float[Tensor, "C H W"]:
    """Read and close an open image file as float32 without loss: ``data.tiff.read`` reads deep TIFF files.

    Other files are read by ``decode``, and 255 becomes 1. Raises BadSampleError.
    """
    if tiff.is_tiff(file):
        deep = tiff.read_header(file, path, close=False).deep
        file.seek(0)
        if deep or channels not in CHANNELS:
            return torch.from_numpy(tiff.read(file, path, channels))
    if channels not in CHANNELS:
        file.close()
        raise BadSampleError(path, f"has no {channels} channels: only TIFF files and arrays have so many")
    return decode(file, path, channels, None).float() / 255


def in_channels(image: Image.Image, path: str, channels: int) -> Image.Image:
    """Convert a loaded image to 8 bits and 1, 3 or 4 channels, as ``decode`` describes. Raises BadSampleError."""
    return _with_channels(_eight_bit(image, path), channels)


def _load(image: Image.Image, path: str) -> None:
    """Decode an image of a permitted size. Pillow makes 8 bits of all colours, but not of a transparent one.

    Raises BadSampleError for an image that is too large.
    """
    width, height = image.size
    check_decoded(path, width * height * _bytes_of_pixel(image), f"{width} x {height} pixels")
    stored = str(image.tile) if image.format == "PNG" else ""
    image.load()
    clear = image.info.get("transparency")
    if "16B" in stored and image.mode == "RGB" and isinstance(clear, tuple):
        image.info["transparency"] = tuple(value >> 8 for value in clear)
    for bits in (2, 4):
        if f"'L;{bits}'" in stored and isinstance(clear, int):
            image.info["transparency"] = clear * 255 // (2**bits - 1)


def _bytes_of_pixel(image: Image.Image) -> int:
    """Return what a pixel costs, such that reading takes no more than four times as much."""
    if image.mode in ("I", "F"):
        return 8  # scaled in float64
    if image.has_transparency_data:
        return 6  # composited from copies
    return 4 if image.mode.startswith("I;16") or image.mode in ("P", "CMYK") else 3


@contextmanager
def _opened(file: BinaryIO, path: str) -> Iterator[Image.Image]:
    """Open an image and close its file. Any error becomes a BadSampleError with a short reason."""
    try:
        # From memory: Pillow asks for as many bytes as a header claims, and a file on disk would reserve them. It also
        # memory-maps an uncompressed TIFF that it opens by name, and corrupts it if EXIF rotates it.
        with file:
            check_decoded(path, file.seek(0, os.SEEK_END))
            file.seek(0)
            content = io.BytesIO(file.read())
        with Image.open(content, formats=_formats()) as image:
            yield image
    except BadSampleError:
        raise
    except Image.UnidentifiedImageError:
        raise BadSampleError(path, "not an image, or in a format that Pillow does not know") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        reason = f"more than {limit:.4g} million pixels; shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS"
        raise BadSampleError(path, reason) from None
    except Exception as error:  # on broken files Pillow raises OSError, SyntaxError, struct.error and others
        raise BadSampleError(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    message = short_reason(error)
    if isinstance(error, OSError) and error.strerror:
        return message  # "input/output error"
    return f"truncated: {message}" if "truncated" in message.lower() else f"cannot be decoded: {message}"


def _formats() -> tuple[str, ...]:
    Image.init()  # registers all formats of this build (not all have AVIF); does nothing the second time
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata does not make an image unreadable
        return 1


def _eight_bit(image: Image.Image, path: str) -> Image.Image:
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    # Pillow opens 16-bit PGM, scaled to 0..65535 whatever its maximum, as 32-bit integers; old versions PNG too.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        values = np.asarray(image).astype(np.uint32)
        most = _greatest(image, values)
        if tags.get(_PHOTOMETRIC) == _MIN_IS_WHITE:
            values = most - values.clip(max=most)  # Pillow does so for 8 bits
        grey = Image.fromarray(((values * 255 + most // 2) // most).clip(max=255).astype(np.uint8))  # rounded
        clear = image.info.get("transparency")
        if not isinstance(clear, int):
            return grey
        alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
        return Image.merge("LA", (grey, alpha))
    if image.mode in ("I", "F"):
        numbers = np.asarray(image)
        if image.mode == "I" and tags.get(_SAMPLE_FORMAT, (_UNSIGNED,)) == (_UNSIGNED,) and tags.get(_BITS) == (32,):
            numbers = numbers.view(np.uint32)  # Pillow reads them as signed
        return Image.fromarray(_stretched(numbers.astype(np.float64), path))
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT) == (_SIGNED,):
        return Image.fromarray(_stretched(np.asarray(image).view(np.int8).astype(np.float64), path))
    return image


def _greatest(image: Image.Image, values: NDArray[np.uint32]) -> int:
    """Return the value that stands for white.

    A TIFF of 16 bits may hold 12 or 14 of them (cameras, scanners, microscopes). Its tag MaxSampleValue says so, or
    else its greatest value.
    """
    if image.format != "TIFF":
        return 65535
    told = getattr(image, "tag_v2", {}).get(_MAX_SAMPLE_VALUE)
    told = max(told) if isinstance(told, tuple) else told
    if isinstance(told, int) and 0 < told <= 65535:
        return told
    most = int(values.max(initial=0))
    return next(2**bits - 1 for bits in (12, 14, 16) if most < 2**bits)


def _stretched(values: NDArray[np.float64], path: str) -> NDArray[np.uint8]:
    low, high = values.min(), values.max()
    if not np.isfinite(high - low):  # NaN goes through min and max
        raise BadSampleError(path, "holds NaN or infinite values")
    span = high - low if high > low else 1.0  # a constant image is black
    stretched: NDArray[np.float64] = (values - low) * (255 / span)
    return stretched.round().astype(np.uint8)


def _with_channels(image: Image.Image, channels: int) -> Image.Image:
    if channels == 4:
        return image.convert("RGBA")
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        if layered.getchannel("A").getextrema()[0] < 255:
            image = Image.alpha_composite(Image.new("RGBA", layered.size, "white"), layered)
        elif image.mode in ("P", "PA"):
            image = layered
    wanted = "L" if channels == 1 else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def read_whole_header(file: BinaryIO, path: str) -> tuple[int, int, int]:
    """Return height, width (pixels) and channels of an image as ``decode_whole`` reads it. Closes the file."""
    if not tiff.is_tiff(file):
        return read_header(file, path)
    header = tiff.read_header(file, path)
    return header.height, header.width, header.channels


def read_header(file: BinaryIO, path: str) -> tuple[int, int, int]:
    """Return height and width (pixels) of an image as it will be read, and 1 if it is grey, else 3. Closes the file."""
    with _opened(file, path) as image:
        width, height = image.size
        # Pillow gives the size of a TIFF after its rotation.
        if _orientation(image) >= 5 and image.format != "TIFF":
            width, height = height, width
        grey = image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
        return height, width, 1 if grey else 3
