"""Images in one ``.npy``, ``.npz`` or HDF5 file.

Shapes: N images, C channels, H W height and width in pixels, h w after the transform.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from maskkit.data.arrays import Array, ArraySource, load_arrays
from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError
from maskkit.modalities.image.reader import check_finite

Transform = Callable[[Tensor, torch.Generator], Tensor]
Layout = Literal["NCHW", "NHWC"]

_PICTURE_KEYS = ("images", "x", "data", "arr_0", "x_train", "train_images")


@dataclass(frozen=True, kw_only=True)
class StoredPicture:
    """Convert a stored image [C H W] into a sample: uint8 pixels or normalised float32, then ``transform``."""

    transform: Transform
    is_uint8: bool
    """True if samples are uint8 pixels, which the model normalises; False for float32."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __call__(self, stored: Array, path: str, rng: torch.Generator) -> Shaped[Tensor, "C h w"]:
        """Return an image, normalised and transformed. Raises BadSampleError if it is not finite, or too large."""
        check_decoded(path, stored.size * (1 if self.is_uint8 else 4), " x ".join(map(str, stored.shape)))
        image = self.transform(self._normalised(stored, path), rng)
        check_finite(image, path)
        return image

    def _normalised(self, stored: Array, path: str) -> Shaped[Tensor, "C H W"]:
        if self.is_uint8:
            pixels = np.array(stored, dtype=np.uint8, order="C")
            return torch.from_numpy(pixels * np.uint8(255) if stored.dtype == np.bool_ else pixels)
        with np.errstate(over="ignore"):  # float64 values beyond the range of float32 become infinite, which is checked
            values = torch.from_numpy(np.array(stored, dtype=np.float32, order="C"))
        if not values.isfinite().all():
            raise BadSampleError(path, "holds NaN or infinite values")
        if self.mean is None or self.std is None:
            return values
        return (values - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]


def open_array(
    where: str,
    *,
    transform: Transform,
    channels: int | None = None,
    layout: Layout | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ArraySource[StoredPicture]:
    """Open images in one ``.npy``, ``.npz`` or HDF5 file (see ``ArraySource``): [N H W], [N C H W] or [N H W C].

    The axis of channels is the one of size ``channels``; without ``channels``, the one of size 4 or less, or the one
    that differs where the other two are equal. If the sizes are ambiguous, ``layout`` decides. With ``channels=3``,
    images of one channel are repeated, as grey files are. Of several arrays, the images are ``images``, ``x``,
    ``data``, ``arr_0``, ``x_train`` or ``train_images``, or the only one; class labels, if any, are ``labels``, ``y``,
    ``targets``, ``y_train`` or ``train_labels`` [N].

    uint8 stays uint8 (0 to 255; the model normalises it), bool becomes 0 and 255. Any other number becomes float32,
    ``(x - mean) / std`` with ``mean`` and ``std`` per channel in the array's own units; without them the values are
    used unchanged, as already normalised. ``measure`` computes them. Pickled objects are never loaded, because they can
    run code. Raises ValueError for arrays that do not fit.
    """
    pictures, labels, _ = load_arrays(where, _PICTURE_KEYS)
    source = ArraySource(
        where=where,
        names=_PICTURE_KEYS,
        row=StoredPicture(
            transform=transform,
            is_uint8=pictures.dtype in (np.uint8, np.bool_),
            mean=None if mean is None else tuple(mean),
            std=None if std is None else tuple(std),
        ),
        arrange=partial(_channels_second, channels=channels, layout=layout),
        loaded=(pictures, labels),
    )
    _check_statistics(source.shape[0], mean, std)
    return source


def _check_statistics(channels: int, mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    if (mean is None) != (std is None):
        raise ValueError("mean and std are given together or not at all; maskkit's measure finds both")
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) != channels:
            raise ValueError(f"{name} needs one number per channel, {channels}, got {len(values)}")
    if std is not None and not all(value > 0 for value in std):
        raise ValueError(f"std must be positive in each channel, got {tuple(std)}")


def _channels_second(pictures: Array, where: str, *, channels: int | None, layout: Layout | None) -> Array:
    """View an array as [N C H W]; a view, so a memory map is not read."""
    shape = "x".join(str(size) for size in pictures.shape)
    if pictures.dtype.kind not in "biuf":
        raise ValueError(f"{where}: holds {pictures.dtype}, not real numbers; save images as uint8 or float32")
    if pictures.ndim not in (3, 4):
        raise ValueError(f"{where}: shape {shape} is not N images; save [N H W], [N C H W] or [N H W C]")
    if 0 in pictures.shape:
        raise ValueError(f"{where}: shape {shape} holds no pixels; name another file")
    if pictures.ndim == 3:
        if pictures.shape[2] <= 4 and channels != 1:  # 4 pixels wide is far less likely than a forgotten axis
            raise ValueError(f"{where}: shape {shape} looks like one image; save [1 H W C], or say channels=1")
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
    if not fitting and channels == 3:  # grey images are repeated
        fitting = [axis for axis in (1, 3) if shape[axis] == 1]
    if not fitting and not channels:  # many channels: the two equal axes of a square image identify the third
        fitting = [axis for axis in (1, 3) if shape[2] == shape[4 - axis] != shape[axis]]
    if len(fitting) == 1:
        return fitting[0]
    text = "x".join(str(size) for size in shape)
    if channels and not fitting:
        raise ValueError(f"{where}: neither axis 1 nor 3 of shape {text} has {channels} channels; correct channels")
    raise ValueError(
        f"{where}: shape {text} leaves open which axis has the channels; say channels= (--channels) or layout='NCHW'"
    )
