"""Videos opened one way, whatever decodes them: files by PyAV, decord or torchcodec, the rest by Pillow.

n frames, H W height and width in pixels as a player shows them: rotation is applied.
"""

import io
import os
import platform
import re
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from maskkit.data.source import BadSampleError
from maskkit.doctor import Report, package

Decoder = Literal["auto", "pyav", "decord", "torchcodec"]
Pixels = UInt8[np.ndarray[Any, Any], "n H W 3"]

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".gif", ".mpg", ".mpeg", ".m2v", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".flv", ".3gp", ".ogv", ".vob"),
)
FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")

FRAME_RATE = 25.0  # frames a second of a folder of frames, which does not say
BLOCK = 32  # frames that torchcodec holds at a time where it has to go through a whole file
PROGRAM_STREAM = b"\0\0\1\xba"  # how MPEG program streams (.mpg, .vob) begin


class Video(Protocol):
    """An open video; its length is the number of its frames."""

    def __len__(self) -> int: ...

    def times(self) -> NDArray[np.float64]:
        """Return the seconds at which each frame begins, ascending. Some decoders go through the whole file for it."""

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode the frames with these numbers, in their order; a number may occur more than once."""

    def close(self) -> None:
        """Let go of the file, where one is held open."""
        return


_MODULES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec.decoders"}  # in the order of preference


def find_decoder(wanted: Decoder = "auto") -> Literal["pyav", "decord", "torchcodec"]:
    """Return the decoder to use for video files: of those installed the first of PyAV, decord, torchcodec.

    All three give the same frames. PyAV goes to the keyframe before a clip; decord, which cannot do so exactly, through
    all frames from the start. Raises ImportError where what is wanted cannot be imported, and says what mends it.
    """
    reasons = []
    for name in _MODULES if wanted == "auto" else (wanted,):
        if find_spec(_MODULES[name].partition(".")[0]) is None:
            reasons.append(f"{name} is not installed")
            continue
        try:
            __import__(_MODULES[name])
        except Exception as error:  # noqa: BLE001  # torchcodec raises RuntimeError where it finds no FFmpeg
            reasons.append(f"{name} fails: {' '.join(str(error).split())[:120]}")
            continue
        return name  # type: ignore[return-value]  # "auto" is none of the names
    raise ImportError(f"no decoder for video files ({'; '.join(reasons)}); pip install 'maskkit[video]'")


def findings() -> list[Report]:
    """Return for ``maskkit doctor`` what reads videos: (subject, fine, text, mend)."""
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
    """Tell whether ``maskkit[video]`` installs decord here: its markers say the same."""
    return (sys.platform, platform.machine()) in (("linux", "x86_64"), ("win32", "AMD64"))


def open_video(
    source: str | Path | BinaryIO, *, decoder: Decoder = "auto", short_side: int | None = None, name: str = ""
) -> Video:
    """Open a video file, an open binary file, a GIF, or a folder of frames.

    ``short_side`` lets a larger video be scaled down while it is decoded, so that its shorter side has so many pixels
    and no later step works on more. Raises BadSampleError, under ``name`` where a file has no path, for what cannot be
    read.
    """
    path = str(source) if isinstance(source, str | Path) else ""
    name = name or path or getattr(source, "name", "a stream")
    if path and os.path.isdir(path):
        return FrameFolder(path, short_side=short_side)
    start = _first_bytes(source, name)
    if not start:
        raise BadSampleError(name, "empty file")
    if start.startswith((b"GIF87a", b"GIF89a")):  # decord refuses them: they say no duration
        return AnimatedPicture(source, name=name, short_side=short_side)
    chosen = find_decoder(decoder)
    if chosen == "decord":
        if start[:1] == b"G" and _is_transport_stream(source):
            mend = "ffmpeg -i IN.ts -c copy OUT.mp4"
            raise BadSampleError(name, f"a transport stream, whose first frames decord loses; repack it: {mend}")
        return DecordVideo(source, name=name, short_side=short_side)
    if chosen == "torchcodec":
        if start.startswith(PROGRAM_STREAM):
            raise BadSampleError(name, "a program stream, whose frames torchcodec misnumbers; read it by pyav")
        return TorchcodecVideo(source, name=name, short_side=short_side)
    return PyavVideo(source, name=name, short_side=short_side)


class DecordVideo(Video):
    """A file read by decord, with frame-exact access. Readers are short-lived: one that is kept holds its memory."""

    def __init__(self, source: str | Path | BinaryIO, *, name: str, short_side: int | None = None) -> None:
        self.name = name
        self._source = str(source) if isinstance(source, str | Path) else source.read()
        self._scale: dict[str, int] = {}
        self._only_keys: bool | None = None
        self._reader, self._position = self._open(), 0
        if short_side is not None:
            height, width = self._decoded(lambda: self._reader.next().shape[:2])
            if min(height, width) > short_side:
                rows, columns = scaled(height, width, short_side)
                self._scale = {"height": rows, "width": columns}
            self._reader = self._open()

    def __len__(self) -> int:
        return len(self._reader)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds at which each frame begins."""
        stamps = self._decoded(lambda: self._reader.get_frame_timestamp(range(len(self))))
        return np.asarray(stamps, dtype=np.float64)[:, 0]

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames, going through the file once."""
        found: dict[int, Pixels] = {}
        wanted = sorted({int(n) for n in numbers})
        for number in wanted:
            self._go_to(number)
            found[number] = _three_channels(self._decoded(lambda: self._reader.next().asnumpy()))
            self._position = number + 1
        return np.stack([found[int(n)] for n in numbers])

    def _go_to(self, number: int) -> None:
        """Move to a frame: by seeking in files made of keyframes only, in others frame by frame from the start.

        decord numbers what follows a seek from the keyframe's place in the file. Where frames are stored in another
        order than they are shown (B-frames) it is off by a few frames after a seek, and with a variable frame rate
        after ``skip_frames``; its ``get_batch`` does both. Frames that are passed over are therefore decoded, and a
        clip late in a long video is slow to reach; ``maskkit cache video`` makes files that can be sought in.
        """
        if self._only_keys is None:
            self._only_keys = len(self._reader.get_key_indices()) == len(self._reader)
        if self._only_keys and number != self._position:
            self._decoded(lambda: self._reader.seek(number))
            return
        if number < self._position:
            self._reader, self._position = self._open(), 0
        for _ in range(number - self._position):
            self._decoded(self._reader.next)

    def _open(self) -> Any:
        import decord

        decord.logging.set_level(decord.logging.QUIET)
        source = self._source if isinstance(self._source, str) else io.BytesIO(self._source)
        # One thread: the loader's workers are what runs in parallel.
        reader = self._decoded(lambda: decord.VideoReader(source, num_threads=1, **self._scale))
        if len(reader) == 0:
            raise BadSampleError(self.name, "holds no frames")
        return reader

    def _decoded(self, work: Any) -> Any:
        """Call decord; whatever goes wrong is a bad sample with a short reason."""
        try:
            return work()
        except BadSampleError:
            raise
        except StopIteration:
            raise BadSampleError(self.name, "ends before its last frame, so it is cut off or broken") from None
        except Exception as error:  # noqa: BLE001  # decord raises RuntimeError, DECORDError and others
            raise BadSampleError(self.name, _reason(str(error))) from None


_BEFORE_ALL = -(2**62)  # a time stamp


class PyavVideo(Video):
    """A file read by PyAV. Frames are known by their time stamps, and reached from the keyframe before them."""

    def __init__(self, source: str | Path | BinaryIO, *, name: str, short_side: int | None = None) -> None:
        self.name, self._short_side = name, short_side
        self._source = os.fspath(source) if isinstance(source, str | Path) else source.read()
        self._container: Any = None
        self._frames: Any = None
        with self._one_bad_sample():
            self._open()
            self._stamps, self._keys = self._index()
            if len(self._stamps) == 0:
                raise BadSampleError(name, "holds no frames")
            self._open()

    def __len__(self) -> int:
        return len(self._stamps)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds at which each frame begins, from the first."""
        seconds: NDArray[np.float64] = (self._stamps - self._stamps[0]) * float(self._stream.time_base)
        return seconds

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames, in the order of their times; only those asked for are scaled and turned into RGB."""
        found = {}
        with self._one_bad_sample():
            for number in sorted({int(n) for n in numbers}):
                found[number] = self._pixels(self._frame(number))
        return np.stack([found[int(n)] for n in numbers])

    def _open(self) -> None:
        """Open the file, to decode it from its start."""
        import av

        self.close()
        container: Any = av.open(self._source if isinstance(self._source, str) else io.BytesIO(self._source))
        if not container.streams.video:
            raise BadSampleError(self.name, "holds no video, only sound")
        self._container, self._stream = container, container.streams.video[0]
        self._stream.codec_context.thread_count = 1  # the loader's workers are what runs in parallel
        self._frames, self._last = container.decode(self._stream), _BEFORE_ALL

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._frames = None
            self._container.close()

    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the time stamps of all frames and those of keyframes, ascending; from packets, which is quick."""
        packets = [p for p in self._container.demux(self._stream) if p.size and not p.is_discard]
        if all(packet.pts is not None for packet in packets):
            stamps, keys = ([p.pts for p in some] for some in (packets, [p for p in packets if p.is_keyframe]))
        else:  # old files stamp only what is decoded
            self._open()
            stamps, keys = [frame.pts for frame in self._frames], []
        return np.unique(np.array(stamps, dtype=np.int64)), np.unique(np.array(keys, dtype=np.int64))

    def _frame(self, number: int) -> Any:
        """Decode up to a frame, from where the last one was or from a keyframe between the two."""
        wanted = self._stamps[number]
        before = self._keys[self._keys <= wanted].tolist()
        if before and not before[-1] <= self._last < wanted:
            self._go_back_to(before[-1])
        elif self._last >= wanted:
            self._open()
        # Some formats' seek lands behind the keyframe asked for: then from ever earlier ones, at last from the start.
        earlier = before[-6:-1:2]
        while (frame := self._decoded_to(wanted)) is None and earlier:
            self._go_back_to(earlier.pop())
        if frame is None:
            self._open()
            frame = self._decoded_to(wanted)
        if frame is None:
            raise BadSampleError(self.name, f"frame {number} cannot be decoded, so it is cut off or broken")
        return frame

    def _decoded_to(self, wanted: int) -> Any:
        """Return the frame with this time stamp, None where decoding goes past it."""
        for frame in self._frames:
            self._last = frame.pts
            if frame.pts >= wanted:
                return frame if frame.pts == wanted else None
        return None

    def _go_back_to(self, stamp: int) -> None:
        """Decode on from a keyframe."""
        self._container.seek(stamp, stream=self._stream, backward=True)
        self._frames, self._last = self._container.decode(self._stream), _BEFORE_ALL

    def _pixels(self, frame: Any) -> UInt8[np.ndarray[Any, Any], "H W 3"]:
        height, width = frame.height, frame.width
        if self._short_side is not None and min(height, width) > self._short_side:
            height, width = scaled(height, width, self._short_side)
        pixels = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR").to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)))

    @contextmanager
    def _one_bad_sample(self) -> Iterator[None]:
        """Turn whatever goes wrong in FFmpeg into a bad sample with a short reason."""
        try:
            yield
        except BadSampleError:
            raise
        except Exception as error:  # noqa: BLE001  # av raises its own errors, ValueError, OSError and others
            raise BadSampleError(self.name, _reason(str(error))) from None


class TorchcodecVideo(Video):
    """A file read by torchcodec with the system's FFmpeg, in its exact mode."""

    def __init__(self, source: str | Path | BinaryIO, *, name: str, short_side: int | None = None) -> None:
        from torchcodec.decoders import VideoDecoder

        self.name, self._short_side = name, short_side
        content = str(source) if isinstance(source, str | Path) else source.read()
        try:
            self._decoder = VideoDecoder(content, seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
            self._count = len(self._decoder)
        except (RuntimeError, ValueError) as error:
            raise BadSampleError(name, _reason(str(error))) from None

    def __len__(self) -> int:
        return self._count

    def times(self) -> NDArray[np.float64]:
        """Return the seconds at which each frame begins. torchcodec tells them with frames only, so all are decoded."""
        return np.concatenate([block.pts_seconds.numpy() for _, block in self._blocks(self._count)]).astype(np.float64)

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames; scaled after decoding, since torchcodec scales to fixed sizes only."""
        wanted = [int(n) for n in numbers]
        try:
            pixels = self._decoder.get_frames_at(wanted).data.numpy()
        except (RuntimeError, IndexError):
            pixels = self._in_sequence(wanted)
        return pixels if self._short_side is None else np.stack([_shrunk(p, self._short_side) for p in pixels])

    def _in_sequence(self, wanted: list[int]) -> Pixels:
        """Decode from the start, for files whose last group of pictures torchcodec cannot seek to (open groups)."""
        found: dict[int, Pixels] = {}
        for start, block in self._blocks(max(wanted) + 1):
            found |= {n: block.data[n - start].numpy() for n in wanted if start <= n < start + len(block.data)}
        return np.stack([found[n] for n in wanted])

    def _blocks(self, stop: int) -> Iterator[tuple[int, Any]]:
        """Give all frames up to ``stop``, some at a time, with the number of the first; none of them needs a seek."""
        try:
            for start in range(0, stop, BLOCK):
                yield start, self._decoder.get_frames_in_range(start, min(start + BLOCK, stop))
        except (RuntimeError, IndexError) as error:
            raise BadSampleError(self.name, _reason(str(error))) from None


class AnimatedPicture(Video):
    """A GIF read by Pillow. Frames build on each other, so all up to the last one wanted are decoded."""

    def __init__(self, source: str | Path | BinaryIO, *, name: str, short_side: int | None = None) -> None:
        self.name, self._short_side = name, short_side
        self._content = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
        self._durations = [max(image.info.get("duration", 0), 10) for image in self._frames()]  # milliseconds

    def __len__(self) -> int:
        return len(self._durations)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds at which each frame begins; a duration of zero is shown for a hundredth of a second."""
        return np.concatenate([[0.0], np.cumsum(self._durations)[:-1]]) / 1000

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames, going through the file once."""
        wanted = {int(n) for n in numbers}
        found = {}
        for number, image in enumerate(self._frames()):
            if number in wanted:
                found[number] = _shrunk(np.asarray(image.convert("RGB")), self._short_side)
            if len(found) == len(wanted):
                break
        return np.stack([found[int(n)] for n in numbers])

    def _frames(self) -> Any:
        try:
            with Image.open(io.BytesIO(self._content)) as image:
                yield from ImageSequence.Iterator(image)
        except Exception as error:  # noqa: BLE001  # on broken files Pillow raises nearly anything
            raise BadSampleError(self.name, _reason(str(error))) from None


class FrameFolder(Video):
    """A folder of pictures, one a frame, in the order of the numbers in their names; all of one size."""

    def __init__(self, path: str, *, short_side: int | None = None, rate: float = FRAME_RATE) -> None:
        self.name, self._short_side, self._rate = path, short_side, rate
        names = [name for name in os.listdir(path) if name.lower().endswith(FRAME_SUFFIXES) and name[0] != "."]
        if not names:
            raise BadSampleError(path, "a folder without frames")
        self._files = [os.path.join(path, name) for name in sorted(names, key=_by_number)]

    def __len__(self) -> int:
        return len(self._files)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds at which each frame begins, at 25 frames a second: a folder does not say."""
        return np.arange(len(self._files)) / self._rate

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Read frames."""
        found = {int(n): self._picture(self._files[int(n)]) for n in dict.fromkeys(int(n) for n in numbers)}
        sizes = sorted({pixels.shape for pixels in found.values()})
        if len(sizes) > 1:
            raise BadSampleError(self.name, f"frames of different sizes: {sizes[0][:2]} and {sizes[-1][:2]}")
        return np.stack([found[int(n)] for n in numbers])

    def _picture(self, file: str) -> Pixels:
        try:
            with Image.open(file) as image:
                if self._short_side is not None:
                    image.draft("RGB", (self._short_side, self._short_side))  # JPEGs at 1/2, 1/4 or 1/8 of their size
                return _shrunk(np.asarray(image.convert("RGB")), self._short_side)
        except Exception as error:  # noqa: BLE001
            # The folder is the sample: its frames, were they named as samples, would count as many bad ones.
            raise BadSampleError(self.name, f"{os.path.basename(file)} {_reason(str(error))}") from None


def scaled(height: int, width: int, short_side: int) -> tuple[int, int]:
    """Return a size of the same shape whose shorter side is ``short_side``."""
    if height <= width:
        return short_side, round(width * short_side / height)
    return round(height * short_side / width), short_side


def _three_channels(pixels: UInt8[np.ndarray[Any, Any], "H W channels"]) -> Pixels:
    """Mend decord's frames less than 64 pixels wide: it takes rows padded to 64 bytes for ones of more channels."""
    height, width, channels = pixels.shape
    if channels == 3:
        return pixels
    return pixels.reshape(height, width * channels)[:, : 3 * width].reshape(height, width, 3)


def _shrunk(pixels: Pixels, short_side: int | None) -> Pixels:
    """Return a picture [H W 3] scaled down to a shorter side, where it is larger."""
    height, width = pixels.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return pixels
    rows, columns = scaled(height, width, short_side)
    return np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BILINEAR))


def _first_bytes(source: str | Path | BinaryIO, name: str) -> bytes:
    """Return the beginning of a file; opening a pipe would wait for ever, so only ordinary files are opened."""
    if not isinstance(source, str | Path):
        start = source.read(16)
        source.seek(0)
        return start
    try:
        if not stat.S_ISREG(os.stat(source).st_mode):
            raise BadSampleError(name, "not an ordinary file")
        with open(source, "rb") as file:
            return file.read(16)
    except OSError as error:
        raise BadSampleError(name, (error.strerror or str(error)).lower()) from None


def _is_transport_stream(source: str | Path | BinaryIO) -> bool:
    """Say whether packets of 188 bytes begin with G, as those of MPEG transport streams do."""
    if isinstance(source, str | Path):
        with open(source, "rb") as file:
            return _is_transport_stream(file)
    start = source.read(188 * 3 + 1)
    source.seek(0)
    return start[::188] == b"GGGG"


def _by_number(name: str) -> list[tuple[int, int | str]]:
    """Sort ``frame_10`` after ``frame_9``."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _reason(message: str) -> str:
    if "cannot find video stream" in message:
        return "holds no video that decord can decode: only sound, or a newer codec such as AV1"
    if message.startswith("Error reading") or "Invalid data found" in message:
        return "not a video, or cut off before its index"
    line = (message.strip().splitlines() or ["no reason given"])[0]
    line = re.sub(r"^(\[[^\]]*\] )*\S*:\d+: ", "", line)  # decord's clock and source line
    return f"cannot be decoded: {line[:160].rstrip('.')}"
