"""docs/formats.md names every suffix and a test of it; values are those of a decoder that the readers do not use."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from maskkit.data import arrays
from maskkit.modalities import audio, image, points, video
from maskkit.modalities.image.reader import read_picture
from maskkit.modalities.video.decoders import FRAME_SUFFIXES, open_video

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/formats.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")[1:]}
LINKS = re.findall(r"\[`([^`]+)`\]\(\.\./([^)]+)\)", TEXT)
ffmpeg_only = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="compares with ffmpeg: apt install ffmpeg")

PICTURE = np.stack(np.meshgrid(np.arange(48) * 5, np.arange(32) * 8, indexing="xy"), -1).astype(np.uint8)
PICTURE = np.concatenate([PICTURE, PICTURE[..., :1] // 2], -1)  # smooth, so that lossy coders keep it


@pytest.mark.parametrize(
    ("section", "suffixes"),
    [
        ("All modalities", arrays.SUFFIXES),
        ("Images", image.SUFFIXES),
        ("Video", (*video.SUFFIXES, *FRAME_SUFFIXES)),
        ("Audio", audio.SUFFIXES),
        ("Point clouds", points.SUFFIXES),
    ],
)
def test_every_suffix_has_a_row(section, suffixes):
    assert set(suffixes) <= set(re.findall(r"`(\.\w+)`", SECTIONS[section]))


def test_every_row_names_a_test_that_exists():
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert len(rows) > 20 and all("](../tests/" in row for row in rows)
    for name, link in LINKS:
        file, _, test = name.partition("::")
        assert file == link and (not test or f"def {test}(" in (ROOT / file).read_text()), name


def decoded(path, *words):
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", str(path), *words, "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout


RGB24 = ("-f", "rawvideo", "-pix_fmt", "rgb24")


@ffmpeg_only
@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".avif"])
def test_lossy_pictures_are_those_of_ffmpeg(tmp_path, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow knows no AVIF")
    path = tmp_path / f"a{suffix}"
    kind = "JPEG" if suffix[1] in "jm" else None
    Image.fromarray(PICTURE).save(path, format=kind, quality=95, **({"subsampling": 0} if kind else {}))
    known = shutil.copy(path, tmp_path / ("known.jpg" if kind else f"known{suffix}"))
    wanted = np.frombuffer(decoded(known, *RGB24), np.uint8).reshape(PICTURE.shape)
    distance = np.abs(read_picture(str(path)).permute(1, 2, 0).numpy().astype(int) - wanted)
    assert distance.mean() < 3 and distance.max() <= (4 if kind else 10)  # others halve colours, and enlarge them


LOSSLESS = {
    **dict.fromkeys((".png", ".apng"), ("PNG", {})),
    **dict.fromkeys((".bmp", ".dib"), ("BMP", {})),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF", {})),
    **dict.fromkeys((".jp2", ".jpf", ".jpx"), ("JPEG2000", {"irreversible": False})),
    ".j2k": ("JPEG2000", {"irreversible": False, "no_jp2": True}),
    **dict.fromkeys((".ppm", ".pnm", ".pgm", ".pbm"), ("PPM", {})),
    ".gif": ("GIF", {}),
    ".qoi": ("QOI", {}),
}


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_lossless_pictures_are_the_very_values(tmp_path, suffix):
    kind, options = LOSSLESS[suffix]
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"this Pillow writes no {kind}")
    values = {".pgm": PICTURE[..., 0], ".gif": PICTURE[..., 0], ".pbm": PICTURE[..., 0] > 99}.get(suffix, PICTURE)
    Image.fromarray(values).save(tmp_path / f"a{suffix}", format="DIB" if suffix == ".dib" else kind, **options)
    wanted = values.astype(np.uint8) * (255 if values.dtype == bool else 1)
    wanted = wanted if wanted.ndim == 3 else np.stack([wanted] * 3, -1)
    np.testing.assert_array_equal(read_picture(str(tmp_path / f"a{suffix}")).permute(1, 2, 0).numpy(), wanted)


def test_a_float_map_is_stretched(tmp_path):
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n3 2\n-1.0\n" + rows[::-1].tobytes())  # the last row comes first
    assert read_picture(str(tmp_path / "a.pfm"), 1)[0].tolist() == [[0, 51, 102], [153, 204, 255]]


CODECS = {
    **dict.fromkeys((".webm",), ("-c:v", "libvpx-vp9", "-deadline", "realtime")),
    **dict.fromkeys((".mpg", ".mpeg", ".m2v", ".vob"), ("-c:v", "mpeg2video")),
    ".avi": ("-c:v", "mpeg4"),
    ".wmv": ("-c:v", "wmv2"),
    ".flv": ("-c:v", "flv"),
    ".3gp": ("-c:v", "mpeg4"),
    ".ogv": ("-c:v", "libtheora", "-q:v", "8"),
}
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")


@ffmpeg_only
@pytest.mark.parametrize("suffix", [suffix for suffix in video.SUFFIXES if suffix != ".gif"])
def test_videos_are_those_of_ffmpeg(tmp_path, suffix):
    pytest.importorskip("av")
    path = tmp_path / f"a{suffix}"
    source = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=0.4"]
    subprocess.run(["ffmpeg", "-loglevel", "error", *source, *CODECS.get(suffix, H264), path], check=True)
    wanted = np.frombuffer(decoded(path, *RGB24), np.uint8).reshape(-1, 64, 96, 3)
    frames = open_video(path).read(range(len(wanted)))
    assert len(open_video(path)) == len(wanted) >= 9
    assert np.abs(frames.astype(int) - wanted).mean(axis=(1, 2, 3)).max() < 1


SOUND = (0.5 * np.sin(np.arange(16_000) * 0.2)).astype(np.float32)
WRITTEN = {  # what soundfile has to be told; the other suffixes say it
    **dict.fromkeys((".wave",), {"format": "WAV"}),
    **dict.fromkeys((".aifc", ".aif"), {"format": "AIFF"}),
    ".snd": {"format": "AU"},
    ".oga": {"format": "OGG", "subtype": "VORBIS"},
    ".opus": {"format": "OGG", "subtype": "OPUS"},
    ".sf": {"format": "IRCAM", "subtype": "PCM_16"},
    **dict.fromkeys((".sph", ".nist"), {"format": "NIST", "subtype": "PCM_16"}),
}
LOSSY = (".ogg", ".oga", ".opus", ".mp3")


@ffmpeg_only
@pytest.mark.parametrize("suffix", [suffix for suffix in audio.SUFFIXES if suffix not in (".m4a", ".aac", ".mp4")])
def test_sound_is_that_of_ffmpeg(tmp_path, suffix):
    soundfile = pytest.importorskip("soundfile")
    soundfile.write(tmp_path / f"a{suffix}", SOUND, 16_000, **WRITTEN.get(suffix, {}))
    wanted = np.frombuffer(decoded(tmp_path / f"a{suffix}", "-f", "f32le", "-ac", "1", "-ar", "16000"), "<f4")
    wave = audio.read_recording(str(tmp_path / f"a{suffix}")).numpy()
    assert abs(len(wave) - len(wanted)) <= (1200 if suffix in LOSSY else 0)  # of what pads a lossy coder's last frame
    middle = slice(2000, 12_000)
    assert np.abs(wave[middle] - wanted[middle]).max() < (0.02 if suffix in LOSSY else 1e-6)
