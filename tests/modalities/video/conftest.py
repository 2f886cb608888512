"""Real video files, written by FFmpeg."""

import importlib.util
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from maskkit.modalities.video.decoders import find_decoder

# torchcodec joins where it is installed and finds FFmpeg.
DECODERS = ["pyav", "decord"]
if importlib.util.find_spec("torchcodec"):
    try:
        DECODERS.append(find_decoder("torchcodec"))
    except ImportError:
        pass

TEST_PICTURE = "testsrc2=size={size}:rate={rate}:duration={seconds}"


def ffmpeg(*words: object) -> None:
    subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-y", *map(str, words)], check=True)


def make(path: Path, *words: object, size: str = "96x64", rate: int = 25, seconds: float = 3) -> Path:
    source = TEST_PICTURE.format(size=size, rate=rate, seconds=seconds)
    ffmpeg("-f", "lavfi", "-i", source, *words, path)
    return path


def difference(frames: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Mean difference of levels, one number a pair of frames."""
    return np.abs(frames.astype(int) - wanted.astype(int)).mean(axis=(1, 2, 3))


X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params")

# Each as it comes from cameras, phones, the web and old archives. Short groups of pictures, since a video has to have
# several for seeking to go wrong.
FILES = {
    "h264.mp4": (*X264, "-bf", 0, "-g", 12),
    "h264_b_frames.mp4": (*X264, "-bf", 3, "-g", 12),
    "h264_open_groups.mkv": (*X264, "-x264-params", "open-gop=1:keyint=12:bframes=4"),
    "h264_10_bit.mp4": ("-c:v", "libx264", "-pix_fmt", "yuv420p10le", "-g", 12),
    "hevc.mp4": (*X265, "log-level=error:keyint=12:open-gop=1:bframes=4"),
    "hevc_10_bit.mp4": (*X265, "log-level=error:keyint=12", "-pix_fmt", "yuv420p10le"),
    "vp9.webm": ("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", 8, "-g", 12),
    "mpeg4.avi": ("-c:v", "mpeg4", "-q:v", 3),
    "h264_b_frames.avi": (*X264, "-bf", 3, "-g", 12),
    "mpeg4_b_frames.avi": ("-c:v", "mpeg4", "-bf", 2, "-q:v", 3, "-g", 12),
    "mpeg4_b_frames.mp4": ("-c:v", "mpeg4", "-bf", 2, "-q:v", 3, "-g", 12),
    "mpeg2.mpg": ("-c:v", "mpeg2video", "-bf", 2, "-g", 12),
    "mjpeg.mov": ("-c:v", "mjpeg", "-q:v", 3, "-pix_fmt", "yuvj420p"),
    "keyframes_only.mp4": (*X264, "-g", 1, "-bf", 0),
    "odd_size.mp4": ("-vf", "scale=97:63", "-c:v", "libx264", "-pix_fmt", "yuv444p"),
    "variable_rate.mp4": ("-vf", "select='not(mod(n,3))+lt(n,20)'", "-fps_mode", "vfr", *X264, "-bf", 3, "-g", 12),
    "animation.gif": (),
}


@pytest.fixture(scope="session")
def files(tmp_path_factory) -> dict[str, Path]:
    """Videos of 75 frames that all differ (variable_rate: 38), by name."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("these tests write their videos with ffmpeg: apt install ffmpeg")
    folder = tmp_path_factory.mktemp("videos")
    return {name: make(folder / name, *words) for name, words in FILES.items()}


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory, files) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bad")
    whole = files["h264.mp4"].read_bytes()
    ffmpeg("-i", files["h264.mp4"], "-c", "copy", "-movflags", "faststart", folder / "index_first.mp4")
    index_first = (folder / "index_first.mp4").read_bytes()
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", folder / "sound.mp4")
    make(folder / "stream.mp4", *X264, "-f", "mpegts", seconds=1)
    (folder / "index_first.mp4").unlink()
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"no video at all\n" * 40,
        "cut_before_index.mp4": whole[: len(whole) // 2],
        "cut_after_index.mp4": index_first[: len(index_first) // 2],
        "broken.gif": b"GIF89a" + bytes(40),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.mp4").mkdir()
    return {path.name: path for path in folder.iterdir()}
