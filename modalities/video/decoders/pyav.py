"""Video files read by PyAV, frame-exact."""

import io
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskkit.data.containers import open_container
from maskkit.data.limits import check_decoded
from maskkit.data.source import one_bad_sample
from maskkit.files import BadSampleError
from maskkit.modalities.video.decoders.video import (
    Picture,
    Pixels,
    Video,
    VideoFile,
    check_clip,
    decoding_reason,
    scaled,
    stacked,
)

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.container import InputContainer

_BEFORE_ALL = -(2**62)  # a time stamp

Oddity = Literal["transport stream", "program stream", "no times", "mirror", "aspect", "sizes"]


class PyavVideo(Video):
    """A file read by PyAV. Frames are known by their time stamps, and reached from the keyframe before them.

    AVI stores no time stamps but those of decoding, bare streams store none, and joined files have them twice. Frames
    of such files are counted as they are decoded, from the start of the file.

    Edit lists, display matrices and pixel aspect ratios are honoured. Interlaced frames are returned as they are
    stored, both fields in one picture. Alpha is dropped. Cover pictures are never taken for the video.
    """

    def __init__(self, source: VideoFile, *, name: str, short_side: int | None = None) -> None:
        self.name, self._short_side = name, short_side
        self._source = os.fspath(source) if isinstance(source, str | Path) else source.read()
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        with one_bad_sample(self.name, decoding_reason):
            self._open()
            self._counts = self._stores_no_times()
            self._stamps, self._keys = self._index()
            if len(self._stamps) == 0:
                raise BadSampleError(name, "holds no frames")
            self._open()

    def __len__(self) -> int:
        return len(self._stamps)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds [n] at which each frame begins, from the first."""
        unit = self._stream.time_base
        if self._counts:
            unit = 1 / self._stream.average_rate if self._stream.average_rate else None
        if unit is None:
            raise BadSampleError(self.name, "does not say how many frames it shows per second")
        seconds: NDArray[np.float64] = (self._stamps - self._stamps[0]) * float(unit)
        return seconds

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames [k height width 3], in the order of their times; only these are scaled and converted to RGB."""
        found = {}
        with one_bad_sample(self.name, decoding_reason):
            for number in sorted({int(n) for n in numbers}):
                found[number] = self._pixels(self._frame(number))
                check_clip(found[number], numbers, self.name)
        return stacked(found, numbers, self.name)

    def oddities(self) -> set[Oddity]:
        """Return what is odd about the video. Its size is compared between the first frame and the last keyframe."""
        with one_bad_sample(self.name, decoding_reason):
            assert self._container is not None
            first = self._frame(0)
            last = self._frame(int(np.searchsorted(self._stamps, self._keys[-1]))) if len(self._keys) else first
            turn = _display_matrix(first)
            found: dict[Oddity, bool] = {
                "transport stream": self._container.format.name == "mpegts",
                "program stream": self._container.format.name == "mpeg",
                "no times": self._counts,
                "mirror": turn is not None and turn[0] * turn[3] < turn[1] * turn[2],
                "aspect": self._aspect() != 1,
                "sizes": (first.width, first.height) != (last.width, last.height),
            }
        return {name for name, here in found.items() if here}

    def _open(self) -> None:
        """Open the file, to decode it from its start."""
        self.close()
        source = self._source if isinstance(self._source, str) else io.BytesIO(self._source)
        container = open_container(source, self.name)
        stream = _film(container)
        if stream is None:
            sound = ", only sound" if container.streams.audio else ""
            container.close()
            raise BadSampleError(self.name, f"holds no video{sound}")
        self._container, self._stream = container, stream
        self._stream.codec_context.thread_count = 1  # the loader's workers are what runs in parallel
        self._frames, self._last = container.decode(self._stream), _BEFORE_ALL

    def close(self) -> None:
        """Close the file."""
        if self._container is not None:
            self._frames = iter(())
            self._container.close()

    def _stores_no_times(self) -> bool:
        """Return whether the file's time stamps are not those at which frames are shown."""
        assert self._container is not None
        return self._container.format.name == "avi" and bool(self._stream.codec_context.has_b_frames)

    def _index(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the time stamps of all frames and those of keyframes, ascending; from packets, which is quick."""
        assert self._container is not None
        if self._counts:
            count = sum(1 for _ in self._frames)
            return np.arange(count), np.arange(0)
        demuxed = self._container.demux(self._stream)
        packets = [_Packet(p.pts, p.is_keyframe, p.is_discard) for p in demuxed if p.size]
        stamps = [p.stamp for p in packets if not p.is_discarded]
        keys = [p.stamp for p in packets if not p.is_discarded and p.is_key]
        if None in stamps:  # old files stamp only what is decoded
            keys = []
        if None in stamps or _repeat(stamps) or not _begins_whole(packets):  # a packet may hold a part of a frame
            self._open()
            stamps = [frame.pts for frame in self._frames]
        if None in stamps or _repeat(stamps):
            self._open()
            self._counts = True
            return self._index()
        return np.unique(np.array(stamps, dtype=np.int64)), np.unique(np.array(keys, dtype=np.int64))

    def _frame(self, number: int) -> "VideoFrame":
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

    def _decoded_to(self, wanted: int) -> "VideoFrame | None":
        """Return the frame with this time stamp, None where decoding goes past it."""
        for frame in self._frames:
            self._last = frame.pts if not self._counts else 0 if self._last == _BEFORE_ALL else self._last + 1
            if self._last >= wanted:
                return frame if self._last == wanted else None
        return None

    def _go_back_to(self, stamp: int) -> None:
        """Decode on from a keyframe."""
        assert self._container is not None
        self._container.seek(stamp, stream=self._stream, backward=True)
        self._frames, self._last = self._container.decode(self._stream), _BEFORE_ALL

    def _pixels(self, frame: "VideoFrame") -> Picture:
        height, width = frame.height, max(1, round(frame.width * self._aspect()))
        check_decoded(self.name, height * width * 3, f"{width} x {height} pixels in a frame")
        if self._short_side is not None and min(height, width) > self._short_side:
            height, width = scaled(height, width, self._short_side)
        woven = _as_progressive(frame) if frame.interlaced_frame else frame
        pixels = woven.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR").to_ndarray()
        return np.ascontiguousarray(_as_shown(pixels, frame))

    def _aspect(self) -> float:
        """Return the width of a pixel divided by its height."""
        aspect = float(self._stream.sample_aspect_ratio or 1)
        # A size that was rounded when a video was scaled leaves pixels that are almost square; taken as square.
        return aspect if abs(aspect - 1) >= 0.05 else 1.0


def _film(container: "InputContainer") -> "VideoStream | None":
    """Return the stream that FFmpeg prefers, provided that it is no cover picture."""
    from av.stream import Disposition

    films = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
    best = container.streams.best("video")
    return best if best in films else next(iter(films), None)


class _Packet(NamedTuple):
    """What a compressed frame says of itself; its data is not kept."""

    stamp: int | None
    is_key: bool
    is_discarded: bool  # decoded, but not shown, by an edit list


def _repeat(stamps: Sequence[int | None]) -> bool:
    return len(set(stamps)) < len(stamps)


def _begins_whole(packets: Sequence[_Packet]) -> bool:
    """Return whether the first packet is a keyframe and shown first, so that all others can be decoded.

    Decoders leave out frames that need one from before the place where a stream was cut.
    """
    if not packets:
        return True
    start = packets[0].stamp
    return packets[0].is_key and start is not None and all(p.stamp is None or p.stamp >= start for p in packets)


def _as_progressive(frame: "VideoFrame") -> "VideoFrame":
    """Return an interlaced frame without its flag, by which newer FFmpegs convert and scale the two fields apart.

    FFmpeg's command line does not use it, and fields that are scaled apart would keep the comb of their motion.
    """
    from av.filter import Graph

    graph = Graph()
    buffer = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 25))
    graph.link_nodes(buffer, graph.add("setfield", "prog"), graph.add("buffersink")).configure()
    graph.push(frame)
    woven: VideoFrame = graph.pull()
    return woven


def _display_matrix(frame: "VideoFrame") -> tuple[int, int, int, int] | None:
    """Return (a, b, c, d) of a frame's display matrix, if it has one. ISO/IEC 14496-12, section 6.2.2.

    The matrix maps the stored x and y to those that are shown: ``x' = a x + c y``, ``y' = b x + d y``.
    """
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return None
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return a, b, c, d


def _as_shown(pixels: Picture, frame: "VideoFrame") -> Picture:
    """Turn and mirror a frame by its display matrix, as players do."""
    matrix = _display_matrix(frame)
    if matrix is None:
        return pixels
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):  # x and y change places
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    pixels = pixels[:, ::-1] if a < 0 else pixels
    return pixels[::-1] if d < 0 else pixels
