"""The table of decoders: which one reads a video, by what is installed and by how the file begins."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maskkit.data.paths import open_file
from maskkit.doctor import Report, package
from maskkit.files import BadSampleError, short_reason
from maskkit.modalities.video.decoders.decord import DecordVideo
from maskkit.modalities.video.decoders.frames import FrameFolder
from maskkit.modalities.video.decoders.gif import AnimatedPicture
from maskkit.modalities.video.decoders.pyav import Oddity, PyavVideo
from maskkit.modalities.video.decoders.torchcodec import TorchcodecVideo
from maskkit.modalities.video.decoders.video import Video, VideoFile

Decoder = Literal["auto", "pyav", "decord", "torchcodec"]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".vob"),
)

_GIF = (b"GIF87a", b"GIF89a")


@dataclass(frozen=True)
class _Entry:
    """A decoder of video files: the module it needs, what opens a file, and the oddities that it does not honour."""

    module: str
    video: Callable[..., Video]
    ignores: tuple[Oddity, ...] = ()


_DECODERS = {  # in the order of preference
    "pyav": _Entry("av", PyavVideo),
    # decord loses the first frames of transport streams.
    "decord": _Entry("decord", DecordVideo, ("transport stream", "mirror", "aspect", "sizes")),
    # torchcodec numbers frames by their time stamps, also where these are not known before frames are decoded.
    "torchcodec": _Entry(
        "torchcodec.decoders",
        TorchcodecVideo,
        ("transport stream", "program stream", "no times", "mirror", "aspect", "sizes"),
    ),
}
_WORDS: dict[Oddity, str] = {
    "transport stream": "a transport stream",
    "program stream": "a program stream",
    "no times": "an AVI with B-frames or a stream without time stamps",
    "mirror": "mirrored by its display matrix",
    "aspect": "of pixels that are not square",
    "sizes": "of frames of different sizes",
}


def find_decoder(wanted: Decoder = "auto") -> Literal["pyav", "decord", "torchcodec"]:
    """Return the decoder to use for video files: of those installed the first of PyAV, decord, torchcodec.

    All three give the same frames, or decord and torchcodec refuse a file. Both need PyAV beside them, which tells what
    a container says. PyAV goes to the keyframe before a clip; decord, which cannot do so exactly, through all frames
    from the start. Raises ImportError if what is wanted cannot be imported, and says what mends it.
    """
    reasons = []
    for name in _DECODERS if wanted == "auto" else (wanted,):
        if find_spec(_DECODERS[name].module.partition(".")[0]) is None:
            reasons.append(f"{name} is not installed")
            continue
        try:
            __import__("av")
            __import__(_DECODERS[name].module)
        except Exception as error:  # noqa: BLE001  # torchcodec raises RuntimeError where it finds no FFmpeg
            reasons.append(f"{name} fails: {short_reason(error)}")
            continue
        return name  # type: ignore[return-value]  # "auto" is none of the names
    raise ImportError(f"no decoder for video files ({'; '.join(reasons)}); pip install 'maskkit[video]'")


def findings() -> list[Report]:
    """Return the rows of ``maskkit doctor`` about packages that read videos: (subject, works, text, fix)."""
    extra = "pip install 'maskkit[video]'"
    try:
        chosen = ("video", True, f"files are read by {find_decoder()}, GIFs and folders of frames by Pillow", "")
    except ImportError as error:
        chosen = ("video", False, str(error), extra)
    ffmpeg = shutil.which("ffmpeg")
    return [
        chosen,
        package("av", "reads video", extra),
        package("decord", "reads video", extra if _decord_has_a_wheel() else ""),
        package("torchcodec", "reads video, with the system's FFmpeg", "pip install torchcodec"),
        ("ffmpeg", ffmpeg is not None, ffmpeg or "not on the path: only re-encoding video needs it", ""),
    ]


def _decord_has_a_wheel() -> bool:
    """Return whether ``maskkit[video]`` installs decord here: its markers say the same."""
    return (sys.platform, platform.machine()) in (("linux", "x86_64"), ("win32", "AMD64"))


def open_video(source: VideoFile, *, decoder: Decoder = "auto", short_side: int | None = None, name: str = "") -> Video:
    """Open a video file, an open binary file, a GIF, or a folder of frames.

    ``short_side`` lets a larger video be scaled down while it is decoded, so that its shorter side has so many pixels
    and no later step works on more. Raises BadSampleError, under ``name`` where a file has no path, for what cannot be
    read.
    """
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else ""
    name = name or path or getattr(source, "name", "a stream")
    if path and os.path.isdir(path):
        return FrameFolder(path, short_side=short_side)
    start = _first_bytes(source)
    if not start:
        raise BadSampleError(name, "empty file")
    if start.startswith(_GIF):  # decord refuses them: they say no duration
        return AnimatedPicture(source, name=name, short_side=short_side)
    chosen = find_decoder(decoder)
    if chosen == "pyav":
        return PyavVideo(source, name=name, short_side=short_side)
    times = _checked_times(chosen, source, name)
    return _DECODERS[chosen].video(source, times=times, name=name, short_side=short_side)


def _checked_times(decoder: str, source: VideoFile, name: str) -> NDArray[np.float64]:
    """Return the seconds [n] at which frames begin. Raises BadSampleError for what a decoder reads wrong."""
    with closing(PyavVideo(source, name=name)) as video:
        misread = video.oddities().intersection(_DECODERS[decoder].ignores)
        times = video.times()
    if misread:
        words = " and ".join(_WORDS[oddity] for oddity in _WORDS if oddity in misread)
        raise BadSampleError(name, f"{words}, which {decoder} does not read right; use --decoder pyav")
    if not isinstance(source, str | os.PathLike):
        source.seek(0)
    return times


def _first_bytes(source: VideoFile) -> bytes:
    """Return the first bytes of a file. Raises BadSampleError if there is nothing to read."""
    if not isinstance(source, str | os.PathLike):
        start = source.read(16)
        source.seek(0)
        return start
    with open_file(os.fspath(source), "video") as file:
        return file.read(16)
