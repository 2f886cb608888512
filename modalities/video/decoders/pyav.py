"""Video files read by PyAV, frame-exact."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskkit.data.limits import check_decoded
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
    from av import VideoFrame
    from av.container import InputContainer

_BEFORE_ALL = -(2**62)  # a time stamp


class PyavVideo(Video):
    """A file read by PyAV. Frames are known by their time stamps, and reached from the keyframe before them.

    AVI stores no time stamps but those of decoding. Frames of an AVI with B-frames, which are shown in another order,
    are counted as they are decoded, from the start of the file.
    """

    def __init__(self, source: VideoFile, *, name: str, short_side: int | None = None) -> None:
        self.name, self._short_side = name, short_side
        self._source = os.fspath(source) if isinstance(source, str | Path) else source.read()
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        with self._one_bad_sample():
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
        unit = 1 / float(self._stream.average_rate) if self._counts else float(self._stream.time_base)
        seconds: NDArray[np.float64] = (self._stamps - self._stamps[0]) * unit
        return seconds

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames [k height width 3], in the order of their times; only these are scaled and converted to RGB."""
        found = {}
        with self._one_bad_sample():
            for number in sorted({int(n) for n in numbers}):
                found[number] = self._pixels(self._frame(number))
                check_clip(found[number], numbers, self.name)
        return stacked(found, numbers, self.name)

    def _open(self) -> None:
        """Open the file, to decode it from its start."""
        import av

        self.close()
        container = av.open(self._source if isinstance(self._source, str) else io.BytesIO(self._source))
        if not container.streams.video:
            container.close()
            raise BadSampleError(self.name, "holds no video, only sound")
        self._container, self._stream = container, container.streams.video[0]
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
        packets = [p for p in self._container.demux(self._stream) if p.size and not p.is_discard]
        if all(packet.pts is not None for packet in packets):
            stamps, keys = ([p.pts for p in some] for some in (packets, [p for p in packets if p.is_keyframe]))
        else:  # old files stamp only what is decoded
            self._open()
            stamps, keys = [frame.pts for frame in self._frames], []
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
        aspect = float(self._stream.sample_aspect_ratio or 1)
        # A size that was rounded when a video was scaled leaves pixels that are almost square; taken as square.
        height, width = frame.height, frame.width if abs(aspect - 1) < 0.05 else max(1, round(frame.width * aspect))
        check_decoded(self.name, height * width * 3, f"{width} x {height} pixels in a frame")
        if self._short_side is not None and min(height, width) > self._short_side:
            height, width = scaled(height, width, self._short_side)
        pixels = frame.reformat(width=width, height=height, format="rgb24", interpolation="BILINEAR").to_ndarray()
        return np.ascontiguousarray(_as_shown(pixels, frame))

    @contextmanager
    def _one_bad_sample(self) -> Iterator[None]:
        """Turn any error of FFmpeg into a BadSampleError with a short reason."""
        try:
            yield
        except BadSampleError:
            raise
        except Exception as error:  # noqa: BLE001  # av raises its own errors, ValueError, OSError and others
            raise BadSampleError(self.name, decoding_reason(error)) from None


def _as_shown(pixels: Picture, frame: "VideoFrame") -> Picture:
    """Turn and mirror a frame by its display matrix, as players do. ISO/IEC 14496-12, section 6.2.2.

    The matrix maps the stored x and y to those that are shown: ``x' = a x + c y``, ``y' = b x + d y``.
    """
    matrix = next((bytes(data) for data in frame.side_data if data.type.name == "DISPLAYMATRIX"), None)
    if matrix is None:
        return pixels
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5]
    if abs(int(b)) + abs(int(c)) > abs(int(a)) + abs(int(d)):  # x and y change places
        pixels, a, d = pixels.transpose(1, 0, 2), c, b
    pixels = pixels[:, ::-1] if a < 0 else pixels
    return pixels[::-1] if d < 0 else pixels
