"""TIFF images of any number of channels and any depth, kept whole as float32. tifffile reads them.

Shapes: C channels, H W height and width in pixels.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from PIL import Image

from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError, short_reason

if TYPE_CHECKING:
    import tifffile

SUFFIXES = (".tif", ".tiff")

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF's
_ORIENTATION, _MIN, _MAX, _SIGNED_MIN, _SIGNED_MAX = 274, 280, 281, 340, 341  # tags
_MIN_IS_WHITE, _MIN_IS_BLACK, _UINT = 0, 1, 1
_UNASSOCIATED = 2  # alpha that colours are not multiplied by yet
_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R 601


@dataclass(frozen=True)
class Header:
    """What the header of a TIFF says: its size after rotation, its channels, and whether 8-bit pictures lose values."""

    height: int
    width: int
    channels: int
    deep: bool
    """Whether there are more than 8 bits, signs, fractions, or channels other than grey, RGB and RGBA."""


def is_tiff(file: BinaryIO) -> bool:
    """Return whether an open file begins as a TIFF does. The file is at its start afterwards."""
    start = file.read(4)
    file.seek(0)
    return start in _MAGIC


def read_header(file: BinaryIO, path: str, *, close: bool = True) -> Header:
    """Return the header of an open TIFF, and close it unless told not to. Raises BadSampleError."""
    with _opened(file, path, close=close) as opened:
        axes, shape, page = _layout(opened, 0)
        sizes = dict(zip(axes, shape, strict=True))
        channels = sizes.get("S", 1) * sizes.get("C", 1)
        deep = page.bitspersample > 8 or page.sampleformat != _UINT or channels not in (1, 3, 4)
        height, width = sizes["Y"], sizes["X"]
        turned = _orientation(page) >= 5
        return Header(width if turned else height, height if turned else width, channels, deep)


def read(file: BinaryIO, path: str, channels: int) -> Float32[NDArray[np.float32], "C H W"]:
    """Read the first image [C H W] of an open TIFF, turned upright; see ``scaled`` for the range of its values.

    OME-TIFF and ImageJ keep channels in pages, which are read together. Other pages (depth, time) are left out, unless
    there are as many grey ones as ``channels``: then they are its channels. Raises BadSampleError.
    """
    with _opened(file, path) as opened:
        axes, shape, page = _layout(opened, channels)
        count, pixels = int(np.prod(shape, dtype=object)), page.imagelength * page.imagewidth
        # Whole numbers are scaled in float64; grey may be repeated.
        size = max(count * (4 if page.dtype.kind == "f" else 8), channels * pixels * 4)
        check_decoded(path, size, f"{'x'.join(map(str, shape))} values")
        several = len(shape) > page.ndim
        _check_places(opened.series[0].pages if several else (page,), opened.filehandle.size)
        whole = opened.series[0].asarray() if several else _decoded(page, file)
        planes = np.moveaxis(whole, axes.index("S"), 0) if "S" in axes else whole.reshape(-1, *shape[-2:])
        values = scaled(planes, page)
        if not np.isfinite(values).all():
            raise BadSampleError(path, "holds NaN or infinite values")
        return np.ascontiguousarray(_upright(_in_channels(values, page, path, channels), _orientation(page)))


def _check_places(pages: Iterable["tifffile.TiffPage | None"], size: int) -> None:
    """Raise ValueError unless all data of the pages lie in a file of ``size`` bytes: tifffile takes memory for them."""
    for page in pages:
        places = () if page is None else zip(page.dataoffsets, page.databytecounts, strict=False)
        if any(start + count > size for start, count in places):
            raise ValueError("truncated: some of its data lie behind its end")


def _decoded(page: "tifffile.TiffPage", file: BinaryIO) -> NDArray[np.generic]:
    """Return the values of a page. What tifffile needs imagecodecs for, such as LZW, Pillow unpacks if it is grey.

    Pillow has no modes for deep colours, and turns and inverts pictures by itself.
    """
    try:
        return page.asarray()
    except ValueError as error:
        plain = page.photometric == _MIN_IS_BLACK and page.samplesperpixel == 1 and _orientation(page) == 1
        if "imagecodecs" not in str(error) or not plain or page.dtype.name not in ("uint16", "int16", "float32"):
            raise
    file.seek(0)
    with Image.open(file) as image:
        return np.asarray(image).astype(page.dtype, copy=False)


def scaled(values: NDArray[np.generic], page: "tifffile.TiffPage") -> NDArray[np.float32]:
    """Return values [...] as float32: floats as they are; whole numbers so that the range that the file states is 0..1.

    The range is that of the tags SMinSampleValue and SMaxSampleValue, or MinSampleValue and MaxSampleValue; without a
    greatest value it is 0 to 2^n - 1 for n bits (BitsPerSample), and for signed ones 2^(n-1) becomes 1. The values
    themselves are never looked at.
    """
    if values.dtype.kind == "f":
        with np.errstate(over="ignore"):  # float64 beyond float32's range becomes infinite, which is checked
            return values.astype(np.float32, copy=False)
    if values.dtype.kind not in "biu":
        raise ValueError(f"holds {values.dtype}, not real numbers")
    high, low = _tag(page, _SIGNED_MAX, _MAX, max), _tag(page, _SIGNED_MIN, _MIN, min)
    if high is None:
        bits = page.bitspersample
        high, low = (2.0 ** (bits - 1) if values.dtype.kind == "i" else 2.0**bits - 1), 0.0
    low = low or 0.0
    if not high > low:
        raise ValueError(f"its tags say that values run from {low:g} to {high:g}")
    found = ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)
    return 1 - found if page.photometric == _MIN_IS_WHITE else found


def _tag(
    page: "tifffile.TiffPage", signed: int, plain: int, choose: Callable[[tuple[float, ...]], float]
) -> float | None:
    told = page.tags.valueof(signed, default=page.tags.valueof(plain))
    if told is None:
        return None
    return float(choose(told) if isinstance(told, tuple) else told)


def _layout(opened: "tifffile.TiffFile", channels: int) -> tuple[str, tuple[int, ...], "tifffile.TiffPage"]:
    """Return axes and shape of the first image, and its first page. Axes are Y, X, and S or C before or after."""
    page, series = opened.pages[0], opened.series[0]
    axes, shape = series.axes, tuple(series.shape)
    if axes == "CYX" or (len(axes) == 3 and axes.endswith("YX") and shape[0] == channels and page.ndim == 2):
        return "CYX", shape, page
    axes, shape = page.axes, tuple(page.shape)
    if axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"its axes are {axes}, not those of an image")
    return axes, shape, page


def _in_channels(
    values: NDArray[np.float32], page: "tifffile.TiffPage", path: str, channels: int
) -> NDArray[np.float32]:
    """Return values [C H W]. As in 8-bit files grey is repeated, colour becomes luminance, alpha is put on white."""
    if len(values) == channels:
        return values
    if len(values) in (2, 4) and channels in (1, 3) and tuple(map(int, page.extrasamples)) in ((1,), (2,)):
        alpha = values[-1:]
        values = values[:-1] * (alpha if int(page.extrasamples[0]) == _UNASSOCIATED else 1) + (1 - alpha)
    if len(values) == channels:
        return values
    if len(values) == 1 and channels == 3:
        return np.repeat(values, 3, axis=0)
    if len(values) == 3 and channels == 1:
        return np.tensordot(np.array([_LUMINANCE], dtype=np.float32), values, axes=1)
    raise BadSampleError(path, f"has {len(values)} channels, not {channels}; ask for {len(values)} (--channels)")


def _orientation(page: "tifffile.TiffPage") -> int:
    return int(page.tags.valueof(_ORIENTATION, default=1))


def _upright(values: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Turn an image [C H W] as TIFF's tag Orientation asks for: 5 to 8 swap rows and columns, the others mirror."""
    if orientation >= 5:
        values = values.swapaxes(1, 2)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return values[:, ::rows, ::columns]


@contextmanager
def _opened(file: BinaryIO, path: str, *, close: bool = True) -> Iterator["tifffile.TiffFile"]:
    """Open a TIFF and close its file. Any error becomes a BadSampleError with a short reason."""
    import tifffile

    try:
        # OME may name other files, which are not opened.
        with file if close else nullcontext(), tifffile.TiffFile(file, name=path, _multifile=False) as opened:
            yield opened
    except (BadSampleError, ImportError):
        raise
    except Exception as error:  # on broken files tifffile raises nearly anything
        reason = short_reason(error)
        if "requires the 'imagecodecs'" in reason:  # <COMPRESSION.LZW: 5> requires the ...
            # A bad sample, and no ImportError, which would end a run over a file whose header is damaged.
            packed = named[1] if (named := re.search(r"\.(\w+):", reason)) else "numbers of odd widths"
            message = f"TIFF packed by {packed} is unpacked by imagecodecs; pip install imagecodecs"
            raise BadSampleError(path, message) from None
        raise BadSampleError(path, f"cannot be decoded: {reason}") from error
