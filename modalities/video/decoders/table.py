"""The table of decoders: which one reads a video, by what is installed and by how the file begins."""

import os
import platform
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from maskkit.data.containers import NO_CONTAINER, START, starts_container
from maskkit.data.paths import open_file
from maskkit.doctor import Report, package
from maskkit.files import BadSampleError, short_reason
from maskkit.modalities.video.decoders.decord import DecordVideo
from maskkit.modalities.video.decoders.frames import FrameFolder
from maskkit.modalities.video.decoders.gif import AnimatedPicture
from maskkit.modalities.video.decoders.pyav import PyavVideo
from maskkit.modalities.video.decoders.torchcodec import TorchcodecVideo
from maskkit.modalities.video.decoders.video import Video, VideoFile

Decoder = Literal["auto", "pyav", "decord", "torchcodec"]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".vob"),
)

_PROGRAM_STREAM = b"\0\0\1\xba"  # how MPEG program streams (.mpg, .vob) begin
_GIF = (b"GIF87a", b"GIF89a")


@dataclass(frozen=True)
class _Entry:
    """A decoder of video files: the module it needs, what opens a file, and why some files are refused."""

    module: str
    video: Callable[..., Video]
    refusal: Callable[[bytes], str]
    """What the first bytes of a file say against it. PyAV is told by options what it may open."""


def _refused_by_decord(start: bytes) -> str:
    if start[: 188 * 3 + 1 : 188] == b"GGGG":  # packets of 188 bytes
        return "a transport stream, whose first frames decord loses; repack it: ffmpeg -i IN.ts -c copy OUT.mp4"
    return "" if starts_container(start) else NO_CONTAINER


def _refused_by_torchcodec(start: bytes) -> str:
    if start.startswith(_PROGRAM_STREAM):
        return "a program stream, whose frames torchcodec misnumbers; read it by pyav"
    return "" if starts_container(start) else NO_CONTAINER


_DECODERS = {  # in the order of preference
    "pyav": _Entry("av", PyavVideo, lambda start: ""),
    "decord": _Entry("decord", DecordVideo, _refused_by_decord),
    "torchcodec": _Entry("torchcodec.decoders", TorchcodecVideo, _refused_by_torchcodec),
}


def find_decoder(wanted: Decoder = "auto") -> Literal["pyav", "decord", "torchcodec"]:
    """Return the decoder to use for video files: of those installed the first of PyAV, decord, torchcodec.

    All three give the same frames. PyAV goes to the keyframe before a clip; decord, which cannot do so exactly, through
    all frames from the start. Raises ImportError if what is wanted cannot be imported, and says what mends it.
    """
    reasons = []
    for name in _DECODERS if wanted == "auto" else (wanted,):
        if find_spec(_DECODERS[name].module.partition(".")[0]) is None:
            reasons.append(f"{name} is not installed")
            continue
        try:
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
    entry = _DECODERS[find_decoder(decoder)]
    if reason := entry.refusal(start):
        raise BadSampleError(name, reason)
    return entry.video(source, name=name, short_side=short_side)


def _first_bytes(source: VideoFile) -> bytes:
    """Return the first bytes of a file. Raises BadSampleError if there is nothing to read."""
    if not isinstance(source, str | os.PathLike):
        start = source.read(START)
        source.seek(0)
        return start
    with open_file(os.fspath(source), "video") as file:
        return file.read(START)
