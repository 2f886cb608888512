"""Containers of video and sound that FFmpeg may open.

FFmpeg goes by the content of a file, whatever its suffix. A playlist (HLS, DASH, ffconcat, SDP, numbered pictures)
names further files and addresses, which FFmpeg opens. Only formats that hold their data themselves are let in.
"""

import os
import re
from typing import TYPE_CHECKING, BinaryIO

from maskkit.files import BadSampleError

if TYPE_CHECKING:
    from av.container import InputContainer

# FFmpeg's names of demuxers.
FORMATS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "mpegvideo", "flv", "live_flv", "asf", "asf_o", "ogg", "mxf", "gxf"),
    *("nut", "dv", "rm", "wtv", "swf", "ivf", "yuv4mpegpipe", "gif", "apng", "mjpeg", "m4v", "h263", "h264", "hevc"),
    *("vvc", "av1", "obu", "vc1", "aac", "loas", "mp3", "ac3", "eac3", "dts", "amr", "ape", "wv", "tta", "tak", "caf"),
    *("wav", "w64", "aiff", "au", "flac", "voc", "mpc", "mpc8", "oma", "dsf"),
)
REFUSED = "a playlist, which names other files, or in a format that is not read; name the files themselves"
NO_CONTAINER = f"not a video, or cut off before its index, or {REFUSED}"

# Options of libavformat. The formats are checked after the content was probed and before it is read.
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}

START = 4 * 192 + 5  # bytes that ``starts_container`` looks at: five packets of a transport stream

# The start of containers that no probe of FFmpeg takes for a playlist. Boxes of MP4 that may hold any text count only
# if their length, under 2^24, begins with a zero byte.
_CONTAINER = re.compile(
    rb".{4}(?:ftyp|moov|mdat|pnot)|\0.{3}(?:wide|free|skip|junk)|\x1aE\xdf\xa3|RIFF.{4}AVI |FLV\x01|OggS\0"
    rb"|0&\xb2u\x8ef\xcf\x11|\x00\x00\x01|\x00\x00\x00\x01|\x06\x0e\x2b\x34|\.RMF\0|DKIF\0|YUV4MPEG2 |GIF8"
    rb"|G(?:.{187}G){3}|.{4}G(?:.{191}G){3}",
    re.DOTALL,
)


def starts_container(start: bytes) -> bool:
    """Return whether a file with these first ``START`` bytes is a container, for decoders that take no options."""
    return _CONTAINER.match(start) is not None


def open_container(file: str | BinaryIO, name: str) -> "InputContainer":
    """Open a path or an open file by PyAV. Raises BadSampleError for a playlist, and PyAV's errors for anything else.

    ``name`` names the file in errors.
    """
    import av

    # An absolute path, since names such as "concat:a|b" are addresses to FFmpeg.
    source = os.path.abspath(file) if isinstance(file, str) else file
    try:
        return av.open(source, options=dict(OPTIONS))
    except av.error.ArgumentError:  # what FFmpeg makes of a format that is not on the list
        raise BadSampleError(name, REFUSED) from None
