"""Videos of eight frames by PyAV, as small as their codecs allow."""

import importlib.util
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.fuzz.seeds.arrays import hdf5, npy, npz

# name: container and codec
CONTAINERS = {
    "h264.mp4": ("mp4", "libx264"),
    "mpeg4.m4v": ("mp4", "mpeg4"),
    "mjpeg.mov": ("mov", "mjpeg"),
    "mpeg4.avi": ("avi", "mpeg4"),
    "h264.mkv": ("matroska", "libx264"),
    "vp9.webm": ("webm", "libvpx-vp9"),
    "mpeg1.mpg": ("mpeg", "mpeg1video"),
    "mpeg1.mpeg": ("mpeg", "mpeg1video"),
    "mpeg2.m2v": ("mpeg2video", "mpeg2video"),
    "mpeg2.ts": ("mpegts", "mpeg2video"),
    "h264.mts": ("mpegts", "libx264"),
    "h264.m2ts": ("mpegts", "libx264"),
    "wmv2.wmv": ("asf", "wmv2"),
    "flv1.flv": ("flv", "flv1"),
    "h263.3gp": ("3gp", "h263"),
    "vp8.ogv": ("ogg", "libvpx"),
    "mpeg2.vob": ("vob", "mpeg2video"),
}
_FAST = {"libx264": {"preset": "ultrafast", "g": "4"}, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"}}


def seeds() -> dict[str, bytes]:
    """Return videos of all suffixes; without PyAV those that need no encoder."""
    found = {"moving.gif": _gif(), **_arrays()}
    if importlib.util.find_spec("av"):
        found |= {name: _encoded(*kind) for name, kind in CONTAINERS.items()}
    return found


def _frames(size: tuple[int, int], count: int = 8) -> NDArray[np.uint8]:
    """Return frames [count height width 3] in which a slope moves."""
    width, height = size
    slope = np.add.outer(np.arange(height) * 5, np.arange(width) * 3)
    return np.stack([(slope[..., None] + np.array([0, 60, 120]) + 20 * n).astype(np.uint8) for n in range(count)])


def _encoded(container: str, codec: str) -> bytes:
    import av

    size = (128, 96) if codec == "h263" else (32, 24)
    file = io.BytesIO()
    with av.open(file, "w", format=container) as opened:
        stream = opened.add_stream(codec, rate=25, options=_FAST.get(codec, {}))
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for pixels in _frames(size):
            opened.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        opened.mux(stream.encode(None))
    return file.getvalue()


def _gif() -> bytes:
    frames = [Image.fromarray(pixels) for pixels in _frames((13, 9), 4)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=40)
    return file.getvalue()


def _arrays() -> dict[str, bytes]:
    clips = np.stack([_frames((9, 6), 4)] * 2)
    return {
        "colour.npy": npy(clips),
        "float.npz": npz(clips=clips.astype(np.float32)[..., 0], labels=np.arange(2)),
        "packed.npz": npz(compressed=True, videos=np.moveaxis(clips, 4, 1)),
        **hdf5("clips.h5", clips=clips),
    }
