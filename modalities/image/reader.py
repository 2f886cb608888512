"""Image files: their suffixes, the reading of one as a uint8 tensor [C H W], and checks.

Shapes: C channels, H W height and width in pixels.
"""

from jaxtyping import Shaped, UInt8
from torch import Tensor

from maskkit.data.paths import open_file
from maskkit.data.pictures import decode
from maskkit.files import BadSampleError

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".avif", ".gif", ".bmp", ".dib"),
    *(".tif", ".tiff", ".jp2", ".j2k", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".qoi"),
)


def read_picture(path: str, channels: int = 3, *, min_side: int | None = None) -> UInt8[Tensor, "C H W"]:
    """Read an image file as uint8 [C H W]: 1 channel is luminance, 3 are RGB, 4 are RGBA.

    ``data.pictures.decode`` reads it. Use arrays (.npy, .npz) if units matter.

    ``min_side`` (pixels) allows JPEGs to be decoded at 1/2, 1/4 or 1/8 of their size, several times faster, as long as
    both sides stay at least twice ``min_side``. MAE's smallest crop, a fifth of the area, is 0.45 of the side and then
    has nearly ``min_side`` pixels, so it is hardly enlarged. Raises BadSampleError.
    """
    check_channels(channels)
    return decode(open_file(path, "picture"), path, channels, min_side)


def check_finite(image: Shaped[Tensor, "C h w"], path: str) -> None:
    """Raise BadSampleError if a float image is not finite after it was normalised and transformed."""
    if image.is_floating_point() and not image.isfinite().all():
        raise BadSampleError(path, "holds values that are too large for float32 once they are normalised")


def check_channels(channels: int) -> None:
    """Raise ValueError for a number of channels that image files do not support."""
    if channels not in (1, 3, 4):
        raise ValueError(
            f"channels must be 1, 3 or 4 for image files, got {channels}; "
            "images of other channels are TIFF files or arrays (.npy or .npz)"
        )
