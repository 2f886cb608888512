"""Every frame is the right one, whatever the file; what cannot be read is named."""

import os
import struct
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

from maskkit.data.paths import open_file
from maskkit.data.pictures import decode
from maskkit.data.source import BadSampleError
from maskkit.modalities.video.decoders import find_decoder, findings, open_video, scaled
from tests.modalities.video.conftest import DECODERS, FILES, difference, ffmpeg, make


def reference(path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", FILES)
def test_frames_are_those_of_a_reference_decoder(files, name, decoder):
    """In sequence, and each of some at random from a newly opened file, in any order."""
    if decoder == "torchcodec" and name.endswith((".mpg", "b_frames.avi")):
        with pytest.raises(BadSampleError, match="a program stream|an AVI with B-frames"):
            open_video(files[name], decoder=decoder)
        return
    wanted = reference(files[name])
    video = open_video(files[name], decoder=decoder)
    frames = video.read(range(len(wanted)))
    assert frames.shape == wanted.shape and len(video.times()) == len(video) == len(wanted)
    tolerance = 8.0 if "10_bit" in name else 0.5  # 10 bits become 8 differently in every library
    assert difference(frames, wanted).max() <= tolerance

    order = np.random.default_rng(0).permutation(len(wanted))[:12]
    for numbers in (order, np.sort(order)[::3], np.array([len(wanted) - 1, 0, 0])):
        got = open_video(files[name], decoder=decoder).read(numbers)
        assert difference(got, wanted[numbers]).max() <= tolerance
        for frame, number in zip(got, numbers, strict=True):  # no other frame is nearer
            assert difference(np.broadcast_to(frame, wanted.shape), wanted).argmin() == number


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("name", ["h264.mp4", "h264_open_groups.mkv", "variable_rate.mp4", "animation.gif", "vp9.webm"])
def test_times_are_those_in_the_file(files, name, decoder):
    with av.open(str(files[name])) as container:
        wanted = [frame.time for frame in container.decode(video=0)]
    assert np.allclose(open_video(files[name], decoder=decoder).times(), wanted, atol=0.011)


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotated_as_players_show_it(files, tmp_path, turn):
    path = tmp_path / "turned.mp4"
    ffmpeg("-i", files["h264.mp4"], "-c", "copy", "-metadata:s:v:0", f"rotate={turn}", path)
    upright = reference(files["h264.mp4"])[:5]
    raw = subprocess.run(  # ffmpeg turns what it writes, as players do
        ["ffmpeg", "-loglevel", "error", "-i", path, "-frames:v", "5", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    height, width = upright.shape[1:3] if turn == 180 else upright.shape[2:0:-1]
    turned = np.frombuffer(raw, np.uint8).reshape(5, height, width, 3)
    assert any(
        difference(np.rot90(upright, k, axes=(1, 2)), turned).max() < 1 for k in (1, 2, 3) if k % 2 == turn // 90 % 2
    )
    frames = open_video(path).read(range(5))
    assert difference(frames, turned).max() < 1
    small = open_video(path, short_side=32).read([0])
    assert small.shape[1:3] == scaled(height, width, 32)


ONE, LAST = 1 << 16, 1 << 30
MATRICES = {  # a b u c d v x y w, of ISO/IEC 14496-12, section 6.2.2
    "hflip": (-ONE, 0, 0, 0, ONE, 0, 0, 0, LAST),
    "vflip": (ONE, 0, 0, 0, -ONE, 0, 0, 0, LAST),
    "rotate 180": (-ONE, 0, 0, 0, -ONE, 0, 0, 0, LAST),
    "rotate 90": (0, ONE, 0, -ONE, 0, 0, 0, 0, LAST),
    "rotate 270": (0, -ONE, 0, ONE, 0, 0, 0, 0, LAST),
    "transpose": (0, ONE, 0, ONE, 0, 0, 0, 0, LAST),
    "transverse": (0, -ONE, 0, -ONE, 0, 0, 0, 0, LAST),
}


@pytest.mark.parametrize("name", MATRICES)
def test_mirrored_and_turned_by_the_display_matrix(files, tmp_path, name):
    """mpv#16078. FFmpeg mirrors and turns what it writes, as players do."""
    content = bytearray(files["h264.mp4"].read_bytes())
    place = content.index(b"tkhd") + 44
    content[place : place + 36] = struct.pack(">9i", *MATRICES[name])
    (tmp_path / "a.mp4").write_bytes(content)
    raw = subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-i", tmp_path / "a.mp4", "-frames:v", "3", "-f", "rawvideo"]
        + ["-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    upright = reference(files["h264.mp4"])[:3]
    shown = {  # from the stored pixels, where this version of FFmpeg knows only turns
        "hflip": upright[:, :, ::-1],
        "vflip": upright[:, ::-1],
        "transpose": upright.transpose(0, 2, 1, 3),
        "transverse": upright[:, ::-1, ::-1].transpose(0, 2, 1, 3),
    }.get(name)
    frames = open_video(tmp_path / "a.mp4").read(range(3))
    if shown is None or name in ("hflip", "vflip"):
        shown = np.frombuffer(raw, np.uint8).reshape(frames.shape)
    assert frames.shape == shown.shape and difference(frames, shown).max() < 1


def test_pixels_that_are_not_square_become_square(files, tmp_path):
    ffmpeg("-i", files["h264.mp4"], "-c", "copy", "-aspect", "3:1", tmp_path / "wide.mp4")
    assert open_video(tmp_path / "wide.mp4").read([0]).shape == (1, 64, 192, 3)
    assert open_video(tmp_path / "wide.mp4", short_side=32).read([0]).shape == (1, 32, 96, 3)


def test_a_size_that_changes_inside_a_stream_is_a_bad_sample(tmp_path):
    parts = [make(tmp_path / f"{size}.ts", "-c:v", "mpeg2video", size=size, seconds=1) for size in ("96x64", "64x48")]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    video = open_video(joined)
    with pytest.raises(BadSampleError, match="frames of different sizes: 64 x 48 and 96 x 64 pixels"):
        video.read([0, len(video) - 1])


def test_frames_of_a_folder_are_read_as_images_are(tmp_path):
    """16 bits, floats, transparency, EXIF."""
    wide = np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 21
    Image.fromarray(wide).save(tmp_path / "1.png")
    Image.fromarray((wide / 65535).astype(np.float32)).save(tmp_path / "2.tif")
    clear = np.zeros((48, 64, 4), dtype=np.uint8)
    clear[:24, :, 3] = 255
    Image.fromarray(clear).save(tmp_path / "3.png")
    turned = Image.fromarray(np.repeat(np.arange(48, dtype=np.uint8)[None, :, None], 64, axis=0).repeat(3, axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned.save(tmp_path / "4.jpg", exif=exif, quality=95)
    frames = open_video(tmp_path).read(range(4))
    for number, name in enumerate(("1.png", "2.tif", "3.png", "4.jpg")):
        path = str(tmp_path / name)
        wanted = decode(open_file(path), path, 3, None).permute(1, 2, 0).numpy()
        assert np.array_equal(frames[number], wanted), name
    assert len(np.unique(frames[0])) > 200 and (frames[2, 24:] == 255).all() and not frames[2, :24].any()


@pytest.mark.parametrize("name", ["h264.mp4", "animation.gif", "odd_size.mp4"])
def test_scaled_while_decoded(files, name):
    wanted = reference(files[name])[[3, 40]]
    rows, columns = scaled(*wanted.shape[1:3], 32)
    shrunk = np.stack([np.asarray(Image.fromarray(frame).resize((columns, rows))) for frame in wanted])
    frames = open_video(files[name], short_side=32).read([3, 40])
    assert frames.shape == shrunk.shape and difference(frames, shrunk).max() < 12  # other filters, same picture
    same = open_video(files[name], short_side=1000).read([3, 40])
    assert np.array_equal(same, open_video(files[name]).read([3, 40]))  # never enlarged


@pytest.mark.parametrize("name", ["h264_b_frames.mp4", "animation.gif"])
def test_a_stream_reads_as_its_file(files, name):
    with open(files[name], "rb") as stream:
        frames = open_video(stream).read([5, 30])
    assert np.array_equal(frames, open_video(files[name]).read([5, 30]))


@pytest.mark.parametrize("size", ["16x16", "24x32", "32x24", "48x20", "62x62"])
def test_narrow_videos(tmp_path, size):
    """decord pads their rows and says that they have more channels."""
    path = make(tmp_path / "narrow.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", size=size, seconds=1)
    assert difference(open_video(path).read(range(25)), reference(path)).max() < 0.5


def test_a_folder_of_frames(tmp_path, files):
    wanted = reference(files["h264.mp4"])[:12]
    for number, frame in enumerate(wanted):
        Image.fromarray(frame).save(tmp_path / f"frame{number + 1}.png")  # frame10 comes after frame9
    (tmp_path / "notes.txt").write_text("no frame")
    video = open_video(tmp_path)
    assert np.array_equal(video.read(range(12)), wanted) and len(video.times()) == len(video) == 12
    Image.fromarray(wanted[0][:32]).save(tmp_path / "frame3.png")
    with pytest.raises(BadSampleError, match="frames of different sizes"):
        video.read(range(12))
    (tmp_path / "frame5.png").write_bytes(b"")
    with pytest.raises(BadSampleError, match="frame5.png: empty file") as caught:
        video.read([4])
    assert caught.value.path == str(tmp_path)  # a folder is one sample, however many of its frames are broken
    os.makedirs(tmp_path / "none")
    with pytest.raises(BadSampleError, match="a folder without frames"):
        open_video(tmp_path / "none")


REASONS = {
    "empty.mp4": "empty file",
    "text.mp4": "not a video, or cut off before its index",
    "cut_before_index.mp4": "not a video, or cut off before its index",
    "cut_after_index.mp4": "cannot be decoded",
    "sound.mp4": "holds no video",
    "stream.mp4": "a transport stream",
    "broken.gif": "cannot be decoded",
    "folder.mp4": "a folder without frames",
    "missing.mp4": "no such file or directory",
}


@pytest.mark.parametrize("name", REASONS)
def test_bad_files_are_named_with_a_reason(bad_files, name):
    path = bad_files.get(name, "/nowhere/missing.mp4")
    with pytest.raises(BadSampleError) as caught:
        video = open_video(path, decoder="decord")
        video.read(range(len(video.times())))
    assert str(path) in str(caught.value) and REASONS[name] in caught.value.reason
    assert "\n" not in caught.value.reason and len(caught.value.reason) < 200


def test_a_decoder_that_is_missing_is_an_error_and_never_replaced(monkeypatch):
    assert find_decoder() == "pyav" and find_decoder("decord") == "decord"
    assert findings()[0][:2] == ("video", True)
    if "torchcodec" not in DECODERS:
        with pytest.raises(ImportError, match="torchcodec.*pip install"):
            find_decoder("torchcodec")
    monkeypatch.setattr("maskkit.modalities.video.decoders.table.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pyav is not .*; decord is not .*; torchcodec is not .*pip install 'maskkit"):
        find_decoder()
    assert findings()[0][1] is False


@pytest.mark.slow
@pytest.mark.parametrize("decoder", ["pyav", "decord"])
def test_memory_does_not_grow(tmp_path, decoder):
    """Over 3000 openings, each of a few frames, from whole and from broken files."""
    make(tmp_path / "a.mp4", "-c:v", "libx264", "-pix_fmt", "yuv420p", size="320x240", seconds=1)
    whole = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "b.mp4").write_bytes(whole[: len(whole) // 2])
    code = """
import sys, contextlib, ctypes, gc
from maskkit.modalities.video.decoders import open_video
from maskkit.data.source import BadSampleError
def memory():
    # Of its own: pages of libraries come and go as the system likes. What is free goes back first.
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return 1024 * int(open("/proc/self/status").read().partition("RssAnon:")[2].split()[0])
for number in range(3000):
    if number % 200 == 0:
        print(memory())
    file, short_side = sys.argv[2 + (number % 4 == 3)], (None, 160)[number % 2]
    with (
        contextlib.suppress(BadSampleError),
        contextlib.closing(open_video(file, decoder=sys.argv[1], short_side=short_side)) as video,
    ):
        video.read([0, 6, 12])
"""
    command = [sys.executable, "-c", code, decoder, str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400).stdout
    growth = np.diff([int(line) for line in said.split()])
    # What leaks grows in every stretch; threads that were slow to end leave a heap of their own behind in one of them.
    # A frame of 320 x 240 kept from each opening would be 46 MB a stretch, one kept from each broken file 11 MB.
    assert np.median(growth) < 2e6 and growth[5:].sum() < 230e6, growth
