"""Pictures from files and from arrays, one uint8 or float tensor [C H W] at a time, and what a data set is like.

N pictures, C channels, H W height and width in pixels, h w after the transform.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from jaxtyping import Shaped, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from maskkit.data.arrays import check_labels, label_text, load_arrays
from maskkit.data.find import find_files
from maskkit.data.mixture import split_mixture
from maskkit.data.paths import FileSource, open_file
from maskkit.data.source import BadSampleError, Key, readable
from maskkit.files import short_reason

Transform = Callable[[Tensor, torch.Generator], Tensor]
Layout = Literal["NCHW", "NHWC"]

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi"),
)

# A file's content decides, whatever its suffix. Left out of Pillow's formats are those that start another program (EPS)
# and those without a signature (TGA), which would make a picture of any garbage.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "DIB", "TIFF", "JPEG2000", "PPM", "QOI")

# What EXIF's orientation asks for. ImageOps.exif_transpose does the same, and fails where it cannot write EXIF back.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

# Pillow warns about large pictures and odd metadata at every read, which a training log repeats thousands of times.
# What matters raises: beyond twice Image.MAX_IMAGE_PIXELS (179 million pixels) a picture is a bad sample.
warnings.filterwarnings("ignore", module=r"PIL\.")


# One picture file


def read_picture(path: str, channels: int = 3, *, min_side: int | None = None) -> UInt8[Tensor, "C H W"]:
    """Read a file as uint8: 1 channel is luminance (ITU-R 601), 3 RGB, 4 RGBA.

    Turned as EXIF says. Of an animation the first frame, of a TIFF the first page.
    Transparent parts are put on white for 1 and 3 channels: the colours stored under them are arbitrary, often black,
    and merely dropping alpha, as ``convert("RGB")`` does, would show them. A fully opaque picture is not changed.
    16 bit is scaled by 1/257, so 65535 becomes 255 (colour: Pillow keeps the high byte).
    32-bit integers and floats have no agreed range, so each picture is stretched from its least value (0) to its
    greatest (255). Where the units matter, use arrays (.npy, .npz).

    ``min_side`` (pixels) lets JPEGs be decoded at 1/2, 1/4 or 1/8 of their size, several times faster, as long as both
    sides stay at least twice ``min_side``: a crop of a fifth of the area, MAE's smallest, is 0.45 of the side, so
    nearly ``min_side`` pixels are left of it and hardly anything is enlarged.
    """
    _check_channels(channels)
    return _decode(open_file(path, "picture"), path, channels, min_side)


def _decode(file: BinaryIO, path: str, channels: int, min_side: int | None) -> UInt8[Tensor, "C H W"]:
    with _opened(file, path) as image:
        if min_side is not None:
            image.draft(None, (2 * min_side, 2 * min_side))
        image.load()
        turn = _TURNS.get(_orientation(image))
        image = _with_channels(_eight_bit(image, path), channels)
        pixels = np.array(image.transpose(turn) if turn is not None else image)
    tensor = torch.from_numpy(pixels)
    # A view, pixels still interleaved as Pillow has them: torchvision resizes those faster, and the copy is saved.
    return tensor[None] if tensor.ndim == 2 else tensor.permute(2, 0, 1)


def _check_channels(channels: int) -> None:
    if channels not in (1, 3, 4):
        raise ValueError(
            f"channels must be 1, 3 or 4 for picture files, got {channels}; "
            "keep pictures of other channels in arrays (.npy or .npz)"
        )


@contextmanager
def _opened(file: BinaryIO, path: str) -> Iterator[Any]:
    """Open a picture and close its file; whatever goes wrong in between is a bad sample with a short reason."""
    try:
        # By handle, since Pillow maps an uncompressed TIFF that it opens by name, and scrambles it if EXIF turns it.
        with file, Image.open(file, formats=_formats()) as image:
            yield image
    except BadSampleError:
        raise
    except Image.UnidentifiedImageError:
        raise BadSampleError(path, "not a picture or a format Pillow does not know") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        reason = f"more than {limit:.4g} million pixels; shrink it, or raise PIL.Image.MAX_IMAGE_PIXELS"
        raise BadSampleError(path, reason) from None
    except Exception as error:  # on broken files Pillow raises nearly anything: OSError, SyntaxError, struct.error ...
        raise BadSampleError(path, _reason(error)) from error


def _reason(error: Exception) -> str:
    message = short_reason(error)
    if isinstance(error, OSError) and error.strerror:
        return message  # "input/output error"
    return f"truncated: {message}" if "truncated" in message.lower() else f"cannot be decoded: {message}"


def _formats() -> tuple[str, ...]:
    Image.init()  # registers all formats of this build; AVIF, say, is not in every one. Does nothing the second time
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken metadata is no reason to lose the picture
        return 1


def _eight_bit(image: Any, path: str) -> Any:
    # Pillow opens 16-bit PGM, scaled to 0..65535 whatever its maximum, as 32-bit integers; old versions PNG too.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PPM", "PNG")):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))  # rounded: (v + 257 / 2) / 257
    if image.mode in ("I", "F"):
        stretched = _stretched(np.asarray(image).astype(np.float64), path)
        return Image.fromarray(stretched)
    return image


def _stretched(values: NDArray[np.float64], path: str) -> NDArray[np.uint8]:
    low, high = values.min(), values.max()
    if not np.isfinite(high - low):  # NaN goes through min and max
        raise BadSampleError(path, "holds NaN or infinite values")
    span = high - low if high > low else 1.0  # a constant picture is black
    stretched: NDArray[np.float64] = (values - low) * (255 / span)
    return stretched.round().astype(np.uint8)


def _with_channels(image: Any, channels: int) -> Any:
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


# Data sets


@dataclass(frozen=True, kw_only=True)
class Pictures(FileSource):
    """Picture files, or members of tar shards: read as ``read_picture`` does, then given to ``transform``."""

    transform: Transform
    channels: int = 3
    min_side: int | None = None  # see read_picture

    def __post_init__(self) -> None:
        _check_channels(self.channels)

    def read(self, key: Key, rng: torch.Generator) -> UInt8[Tensor, "C h w"]:
        """Return a picture, transformed."""
        picture = _decode(self.files.open(key.index), self.path(key.index), self.channels, self.min_side)
        return self.transform(picture, rng)


@dataclass(frozen=True, kw_only=True, eq=False)
class Arrays:
    """Pictures in one ``.npy`` (memory-mapped) or ``.npz`` (loaded once) file: [N H W], [N C H W] or [N H W C].

    The axis of channels is the one of size ``channels``; without ``channels``, the one of size 4 or less, or the one
    that differs where the other two are equal. Where sizes leave it open, ``layout`` says. With ``channels=3``,
    pictures of one channel are repeated, as grey files are.
    Of an ``.npz``, the pictures are ``images``, ``x``, ``data``, ``arr_0``, ``x_train`` or ``train_images``, or its
    only array; class labels, if any, are ``labels``, ``y``, ``targets``, ``y_train`` or ``train_labels`` [N].

    uint8 stays uint8 (0 to 255; the model normalises it), bool becomes 0 and 255. Any other number becomes float32,
    ``(x - mean) / std`` with ``mean`` and ``std`` per channel in the array's own units; without them it is taken as it
    is, that is, as normalised already. ``measure`` finds them. Pickled objects are never loaded, since they run code.
    """

    where: str
    transform: Transform
    channels: int | None = None
    layout: Layout | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    _pictures: NDArray[Any] = field(init=False, repr=False)  # a view [N C H W] of the file, in its own type
    _labels: NDArray[Any] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pictures, labels, _ = load_arrays(self.where, _PICTURE_KEYS)
        pictures = _channels_second(pictures, where=self.where, channels=self.channels, layout=self.layout)
        object.__setattr__(self, "_pictures", pictures)
        object.__setattr__(self, "_labels", check_labels(labels, len(pictures), self.where))
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std are given together or not at all; maskkit's measure finds both")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) != pictures.shape[1]:
                raise ValueError(f"{name} needs one number a channel, {pictures.shape[1]}, got {len(values)}")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ValueError(f"std must be positive in each channel, got {tuple(self.std)}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a spawned worker open the file itself: pickling would send it the whole memory map."""
        names = ("where", "transform", "channels", "layout", "mean", "std")
        return partial(type(self), **{name: getattr(self, name) for name in names}), ()

    def __len__(self) -> int:
        return len(self._pictures)

    @property
    def repeats(self) -> int:
        """1: each picture is one sample."""
        return 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of each picture as stored."""
        channels, height, width = self._pictures.shape[1:]
        return channels, height, width

    @property
    def is_uint8(self) -> bool:
        """Whether samples are uint8 pixels, which the model normalises, rather than float32."""
        return self._pictures.dtype in (np.uint8, np.bool_)

    def read(self, key: Key, rng: torch.Generator) -> Shaped[Tensor, "C h w"]:
        """Return a picture, transformed."""
        return self.transform(self._normalised(key.index), rng)

    def path(self, index: int) -> str:
        """Name picture ``index``: ``digits.npz[7]``."""
        return f"{self.where}[{index}]"

    def label(self, index: int) -> str | None:
        """Return its class."""
        return label_text(self._labels, index)

    def _normalised(self, index: int) -> Shaped[Tensor, "C H W"]:
        stored = self._pictures[index]
        if self.is_uint8:
            pixels = np.array(stored, dtype=np.uint8, order="C")
            return torch.from_numpy(pixels * np.uint8(255) if stored.dtype == np.bool_ else pixels)
        with np.errstate(over="ignore"):  # float64 beyond float32 becomes infinite, and is refused as such
            values = torch.from_numpy(np.array(stored, dtype=np.float32, order="C"))
        if not values.isfinite().all():
            raise BadSampleError(self.path(index), "holds NaN or infinite values")
        if self.mean is None or self.std is None:
            return values
        return (values - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def open_pictures(
    where: str | Path,
    *,
    channels: int | None,
    transform: Transform,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    layout: Layout | None = None,
    min_side: int | None = None,
) -> Pictures | Arrays:
    """Open an ``.npy`` or ``.npz`` file as Arrays, and anything that ``find_files`` knows as Pictures.

    ``channels=None`` is 3 for files and all there are for arrays. ``mean``, ``std`` and ``layout`` are for arrays only,
    ``min_side`` for files only.
    """
    place = os.path.expanduser(os.fspath(where))
    if not place.lower().endswith((".npy", ".npz")):
        files = find_files(place, SUFFIXES)
        colours = 3 if channels is None else channels
        return Pictures(files=files, transform=transform, channels=colours, min_side=min_side)
    return Arrays(where=place, transform=transform, channels=channels, layout=layout, mean=mean, std=std)


# Array files

_PICTURE_KEYS = ("images", "x", "data", "arr_0", "x_train", "train_images")


def _channels_second(
    pictures: NDArray[Any], *, where: str, channels: int | None, layout: Layout | None
) -> NDArray[Any]:
    """View an array as [N C H W]; a view, so a memory map is not read."""
    shape = "x".join(str(size) for size in pictures.shape)
    if pictures.dtype.kind not in "biuf":
        raise ValueError(f"{where}: holds {pictures.dtype}, not real numbers; save pictures as uint8 or float32")
    if pictures.ndim not in (3, 4):
        raise ValueError(f"{where}: shape {shape} is not N pictures; save [N H W], [N C H W] or [N H W C]")
    if 0 in pictures.shape:
        raise ValueError(f"{where}: shape {shape} holds no pixels; name another file")
    if pictures.ndim == 3:
        if pictures.shape[2] <= 4 and channels != 1:  # 4 pixels wide is far less likely than a forgotten axis
            raise ValueError(f"{where}: shape {shape} looks like one picture; save [1 H W C], or say channels=1")
        pictures = pictures[:, None]
    elif _channel_axis(pictures.shape, where=where, channels=channels, layout=layout) == 3:
        pictures = np.moveaxis(pictures, 3, 1)
    count, stored, height, width = pictures.shape
    if channels == 3 and stored == 1:
        return np.broadcast_to(pictures, (count, 3, height, width))
    if channels not in (None, stored):
        raise ValueError(f"{where}: shape {shape} has {stored} channel(s), not {channels}; ask for {stored}")
    return pictures


def _channel_axis(shape: Sequence[int], *, where: str, channels: int | None, layout: Layout | None) -> int:
    if layout is not None:
        if layout not in ("NCHW", "NHWC"):
            raise ValueError(f"layout must be 'NCHW' or 'NHWC', got {layout!r}")
        return 1 if layout == "NCHW" else 3
    fitting = [axis for axis in (1, 3) if (shape[axis] == channels if channels else shape[axis] <= 4)]
    if not fitting and channels == 3:  # grey, to be repeated
        fitting = [axis for axis in (1, 3) if shape[axis] == 1]
    if not fitting and not channels:  # many channels: the two axes of a square picture give them away
        fitting = [axis for axis in (1, 3) if shape[2] == shape[4 - axis] != shape[axis]]
    if len(fitting) == 1:
        return fitting[0]
    text = "x".join(str(size) for size in shape)
    if channels and not fitting:
        raise ValueError(f"{where}: neither axis 1 nor 3 of shape {text} has {channels} channels; correct channels")
    raise ValueError(
        f"{where}: shape {text} leaves open which axis has the channels; say channels= (--channels) or layout='NCHW'"
    )


# What a data set is like


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a look at some pictures says about all, to choose defaults by."""

    count: int  # of all pictures in the data set
    height: int  # median, pixels
    width: int
    channels: int  # files: 1 if all are grey, else 3. Arrays: as stored
    dtype: Literal["uint8", "float32"]  # of the samples that come out


def survey(where: str | Path, *, limit: int = 64, channels: int | None = None, layout: Layout | None = None) -> Survey:
    """Look at up to ``limit`` pictures, evenly spread; of files only at the header, and bad ones are passed over.

    Of a mixture each part is looked at; the sizes are those of the part with the largest weight.
    """
    parts = split_mixture(os.fspath(where))
    seen = [_survey(path, limit, channels, layout) for _, path in parts]
    if len({each.dtype for each in seen}) > 1:
        raise ValueError(f"{where}: some parts hold uint8 pictures, others floats; convert one to the other")
    heaviest = max(range(len(parts)), key=lambda number: parts[number][0])
    return replace(seen[heaviest], count=sum(each.count for each in seen), channels=max(each.channels for each in seen))


def _survey(where: str, limit: int, channels: int | None, layout: Layout | None) -> Survey:
    source = open_pictures(where, channels=channels, transform=_as_it_is, layout=layout)
    if isinstance(source, Arrays):
        stored, height, width = source.shape
        dtype: Literal["uint8", "float32"] = "uint8" if source.is_uint8 else "float32"
        return Survey(count=len(source), height=height, width=width, channels=stored, dtype=dtype)
    seen = list(readable(_spread(source, limit), lambda index: _header(source, index)))
    return Survey(
        count=len(source),
        height=round(median(height for height, _, _ in seen)),
        width=round(median(width for _, width, _ in seen)),
        channels=channels or (1 if all(grey for _, _, grey in seen) else 3),
        dtype="uint8",
    )


def measure(
    where: str | Path, *, limit: int = 2000, channels: int | None = None, layout: Layout | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over all pixels of up to ``limit`` pictures, evenly spread.

    In units of the full range, 0 to 1, for uint8 pixels; in the array's own units for floats. Bad samples are passed
    over. A constant channel has deviation 1, so that normalising by it gives 0 and not NaN. ``channels=None`` is what
    ``survey`` finds. Large JPEGs are measured at reduced size, as training sees them. Of a mixture each part counts by
    its weight.
    """
    if channels is None:
        channels = survey(where, layout=layout).channels
    parts = split_mixture(os.fspath(where))
    weights = torch.tensor([weight for weight, _ in parts]).double()
    weights = (weights / weights.sum())[:, None]
    measured = [_measure(path, limit, channels, layout) for _, path in parts]
    means, variances = (torch.stack(values) for values in zip(*measured, strict=True))
    mean = (weights * means).sum(0)
    std = (weights * (variances + (means - mean) ** 2)).sum(0).sqrt()
    return tuple(mean.tolist()), tuple(torch.where(std > 0, std, 1.0).tolist())


def _measure(where: str, limit: int, channels: int, layout: Layout | None) -> tuple[Tensor, Tensor]:
    """Mean and variance per channel."""
    source = open_pictures(where, channels=channels, transform=_as_it_is, layout=layout, min_side=256)
    rng = torch.Generator()
    count, mean, squares = 0, torch.zeros(channels).double(), torch.zeros(channels).double()
    for picture in readable(_spread(source, limit), lambda index: source.read(Key.of(index), rng)):
        values = picture.flatten(1).double() / (255 if picture.dtype == torch.uint8 else 1)
        # Merged as Chan, Golub and LeVeque (1979) do: a sum of squares loses all digits where the mean is large.
        shift, share = values.mean(1) - mean, values.shape[1] / (count + values.shape[1])
        squares += values.var(1, correction=0) * values.shape[1] + shift**2 * count * share
        mean += shift * share
        count += values.shape[1]
    return mean, squares / count


def _spread(source: Pictures | Arrays, limit: int) -> Sequence[int]:
    """Return at most ``limit`` indices, evenly spread."""
    assert limit > 0
    if isinstance(source, Pictures):
        return source.files.spread(limit)
    found: list[int] = np.linspace(0, len(source) - 1, min(limit, len(source))).round().astype(int).tolist()
    return found


def _as_it_is(picture: Tensor, rng: torch.Generator) -> Tensor:
    return picture


def _header(source: Pictures, index: int) -> tuple[int, int, bool]:
    """Height and width of a picture as it will be read, and whether it is grey."""
    with _opened(source.files.open(index), source.path(index)) as image:
        width, height = image.size
        # Pillow gives the size of a TIFF as it will be after turning.
        if _orientation(image) >= 5 and image.format != "TIFF":
            width, height = height, width
        return height, width, image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")
