"""Containers of video and sound that FFmpeg may open.

FFmpeg goes by the content of a file, whatever its suffix. A playlist (HLS, DASH, ffconcat, SDP, numbered pictures)
names further files and addresses, which FFmpeg opens. Only formats that hold their data themselves are let in.
"""

import errno
import os
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

# Options of libavformat. The formats are checked after the content was probed and before it is read.
OPTIONS = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "file"}


def open_container(file: str | BinaryIO, name: str) -> "InputContainer":
    """Open a path or an open file by PyAV. Raises BadSampleError for a playlist, and PyAV's errors for anything else.

    ``name`` names the file in errors.
    """
    import av

    # An absolute path, since names such as "concat:a|b" are addresses to FFmpeg.
    source = os.path.abspath(file) if isinstance(file, str) else file
    try:
        # For the container only: before 17.1, PyAV aborts on options for streams where a header lists none (MPEG).
        return av.open(source, container_options=dict(OPTIONS))
    except av.error.FFmpegError as error:
        if error.errno != errno.EINVAL:  # what FFmpeg makes of a format that is not on the list
            raise
        raise BadSampleError(name, REFUSED) from None
