"""What containers say beside pixels: every decoder shows it as FFmpeg's command line does, or refuses the file."""

import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.video.decoders import open_video
from tests.modalities.video.conftest import DECODERS, X264, difference, ffmpeg, make

BOTH = ("decord", "torchcodec")
ONE, LAST = 1 << 16, 1 << 30
TURN, MIRROR = (0, ONE, 0, -ONE, 0, 0, 0, 0, LAST), (-ONE, 0, 0, 0, ONE, 0, 0, 0, LAST)  # of the track header

# Words for FFmpeg between "-i SOURCE" and the file written (b.mp4: H.264 with B-frames, c.jpg: a picture), which
# decoders refuse it, and a part of their reason.
WRITTEN = {
    "plain.mp4": ("b.mp4", "-c copy", (), ""),
    "cut.mp4": ("-ss 1.2 -i b.mp4", "-c copy", ("decord",), r"counts \d+ frames where 45 are shown"),
    "cut.mov": ("-ss 1.2 -i b.mp4", "-c copy -t 1", ("decord",), r"counts \d+ frames where 27 are shown"),
    "cut.mkv": ("-ss 1.2 -i b.mp4", "-c copy", (), ""),
    "late.mp4": ("-itsoffset 0.5 -i b.mp4 -f lavfi -i sine=duration=3", "-c:v copy -c:a aac", (), ""),
    "wide_track.mp4": ("b.mp4", "-c copy -aspect 3:1", BOTH, "pixels that are not square"),
    "wide.mkv": ("b.mp4", "-vf setsar=1/2 -c:v libx264", BOTH, "pixels that are not square"),
    "wide.avi": ("b.mp4", "-vf setsar=16/11 -c:v mpeg4 -q:v 3", BOTH, "pixels that are not square"),
    "b_frames.avi": ("b.mp4", "-c:v mpeg4 -bf 2 -q:v 3", ("torchcodec",), "an AVI with B-frames"),
    "stream.ts": ("b.mp4", "-c copy", BOTH, "a transport stream"),
    "program.vob": ("b.mp4", "-c:v mpeg2video -bf 2", ("torchcodec",), "a program stream"),
    "ten_bits.mp4": ("b.mp4", "-c:v libx264 -pix_fmt yuv420p10le", (), ""),
    "clear.webm": ("b.mp4", "-c:v libvpx-vp9 -pix_fmt yuva420p -vf format=yuva420p,fade=alpha=1", (), ""),
    "clear.mov": ("b.mp4", "-c:v qtrle -pix_fmt argb", (), ""),
    "fields.mp4": ("b.mp4", "-vf tinterlace=interleave_top -c:v libx264 -x264-params tff=1", (), ""),
    "cover_first.mkv": ("c.jpg -i b.mp4", "-map 0 -map 1 -c copy -disposition:v:0 0", (), ""),
    "cover.mp4": ("b.mp4 -i c.jpg", "-map 0 -map 1 -c copy -disposition:v:1 attached_pic", (), ""),
    "hidden.webm": ("b.mp4", "-c:v libvpx -b:v 300k -auto-alt-ref 1 -lag-in-frames 16", (), ""),
    "sound.m4a": ("c.jpg -f lavfi -i sine=duration=1", "-c:v copy -disposition:v attached_pic", DECODERS, "only sound"),
    "bare.h264": ("b.mp4", "-c copy", BOTH, "a stream without time stamps|Failed to measure duration"),
    "twice.mkv": (
        "b.mp4",
        "-vf setpts=floor(N/2)*2/25/TB -fps_mode passthrough -enc_time_base 1/25 -c:v ffv1",
        ("torchcodec",),
        "a stream without time stamps",
    ),
    "none.mp4": ("b.mp4", "-c copy -frames:v 0", DECODERS, "holds no video"),
    "none.mkv": ("b.mp4", "-c:v libx264 -frames:v 0", DECODERS, "not a video"),
}
MADE = {  # of others, by a function below
    "turned.mp4": ((), ""),
    "mirrored.mp4": (BOTH, "mirrored by its display matrix"),
    "begins_late.ts": (BOTH, "a transport stream"),
    "joined.ts": (BOTH, "a transport stream"),
    "cover_first.mp4": (("torchcodec",), "--decoder pyav"),
    "sizes.ts": (DECODERS, "frames of different sizes"),
    "sizes.mkv": (DECODERS, "frames of different sizes"),
}


SIZES = (("96x64", 0), ("64x48", 2))  # and where the parts begin, in seconds


@pytest.fixture(scope="module")
def folder(tmp_path_factory, files) -> Path:
    folder = tmp_path_factory.mktemp("containers")
    (folder / "b.mp4").symlink_to(files["h264_b_frames.mp4"])
    make(folder / "c.jpg", "-frames:v", 1, size="300x300")
    for name, (source, words, *_) in WRITTEN.items():
        first = source if "-i b.mp4" in source and source[0] == "-" else f"-i {source}"
        inputs = [str(folder / word) if word in ("b.mp4", "c.jpg") else word for word in first.split()]
        ffmpeg(*inputs, *words.split(), folder / name)
    for name, matrix in {"turned.mp4": TURN, "mirrored.mp4": MIRROR}.items():
        content = bytearray((folder / "b.mp4").read_bytes())
        place = content.index(b"tkhd") + 44
        content[place : place + 36] = struct.pack(">9i", *matrix)
        (folder / name).write_bytes(content)
    stream = (folder / "stream.ts").read_bytes()
    (folder / "begins_late.ts").write_bytes(stream[len(stream) // 188 // 3 * 188 :])
    (folder / "joined.ts").write_bytes(stream * 2)  # its time stamps occur twice
    (folder / "cover_first.mp4").write_bytes(cover_before_video((folder / "cover.mp4").read_bytes()))
    parts = [make(folder / f"{size}.ts", *X264, "-output_ts_offset", at, size=size, seconds=1) for size, at in SIZES]
    (folder / "sizes.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    ffmpeg("-i", folder / "sizes.ts", "-c", "copy", folder / "sizes.mkv")
    return folder


def cover_before_video(content: bytes) -> bytes:
    """Move the user's data of an MP4, which hold the cover, before its tracks, as some writers have them."""

    def boxes(data: bytes) -> list[bytes]:
        found, place = [], 0
        while place < len(data):
            size = int.from_bytes(data[place : place + 4], "big")
            found.append(data[place : place + size])
            place += size
        return found

    *before, movie = boxes(content)  # the index is last
    inside = sorted(boxes(movie[8:]), key=lambda box: [b"mvhd", b"udta", b"trak"].index(box[4:8]))
    return b"".join([*before, movie[:8], *inside])


def by_ffmpeg(path: Path, height: int, width: int) -> np.ndarray:
    """Return all frames that FFmpeg's command line shows, with pixels made square."""
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", path, "-fps_mode", "passthrough"]
    command += ["-vf", "scale=trunc(iw*sar+0.5):ih:flags=bilinear", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", [*WRITTEN, *MADE])
def test_shown_as_ffmpeg_shows_it_or_refused(folder, name, decoder):
    refusing, reason = WRITTEN[name][2:] if name in WRITTEN else MADE[name]
    path = folder / name
    if decoder in refusing:
        with pytest.raises(BadSampleError, match=reason) as caught:
            video = open_video(path, decoder=decoder)
            video.read([0, len(video) - 1])
        assert "\n" not in str(caught.value)
        assert "pyav" in refusing or "--decoder pyav" in caught.value.reason
        return
    video = open_video(path, decoder=decoder)
    frames = video.read(range(len(video)))
    wanted = by_ffmpeg(path, *frames.shape[1:3])
    assert len(frames) == len(wanted) == len(video.times()) and video.times()[0] == 0 < np.diff(video.times()).min()
    # Every version of FFmpeg scales, and makes 8 bits of 10, a little differently.
    tolerance = 8.0 if name.startswith(("ten_bits", "wide")) else 0.5
    assert difference(frames, wanted).max() <= tolerance
    order = np.random.default_rng(0).permutation(len(wanted))[:8]
    assert np.array_equal(open_video(path, decoder=decoder).read(order), frames[order])
