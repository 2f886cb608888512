"""Sound in containers, decoded by PyAV: as many samples as FFmpeg's command line gives, and the same."""

import shutil
import struct
import subprocess

import numpy as np
import pytest

from maskkit.data.source import BadSampleError
from maskkit.modalities.audio.decoded import decode
from maskkit.modalities.audio.ogg import ogg_start
from maskkit.modalities.audio.reader import read_recording

av = pytest.importorskip("av")
pytestmark = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="these tests write AAC with ffmpeg")

TONE = "-f lavfi -i aevalsrc=0.4*sin(4400*t)*sin(9*t)|0.2*sin(900*t):s=44100:d=3"
LOW = "-f lavfi -i sine=frequency=300:duration=2:sample_rate=22050"
FILM = "-f lavfi -i testsrc2=size=64x48:duration=4"
PICTURE = "-f lavfi -i testsrc2=size=64x48:rate=1:duration=1"
WRITTEN = {  # inputs and the words after them; a.m4a is the first
    "a.m4a": (TONE, "-c:a aac"),  # an edit list hides the samples before the encoder's first
    "a.aac": (TONE, "-c:a aac"),
    "cut.m4a": ("-ss 1.2 -i a.m4a", "-c copy -t 1"),
    "late.mp4": (f"{FILM} -itsoffset 0.5 {TONE}", "-c:v mpeg4 -c:a aac"),
    "low_rate.m4a": (TONE, "-c:a aac -ar 24000"),
    "six.m4a": (LOW, "-ac 6 -ar 48000 -c:a aac"),
    "cover.m4a": (f"{TONE} {PICTURE}", "-c:a aac -c:v mjpeg -disposition:v attached_pic"),
    "two.m4a": (f"{LOW} {TONE}", "-map 0 -map 1 -c:a aac -disposition:a:0 0 -disposition:a:1 default"),
    "lossless.m4a": (TONE, "-c:a alac"),
    "opus.mp4": (TONE, "-ar 48000 -c:a libopus"),
    "film.mp4": (FILM, "-c:v mpeg4"),
    "none.m4a": (TONE, "-c:a aac -t 0"),
    "index_first.m4a": ("-i a.m4a", "-c copy -movflags faststart"),
}
REFUSED = {"film.mp4": "holds no sound", "none.m4a": "holds no sound"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    for name, (inputs, words) in WRITTEN.items():
        ffmpeg = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y"]
        subprocess.run([*ffmpeg, *inputs.split(), *words.split(), name], check=True, cwd=folder)
    return folder


@pytest.mark.parametrize("name", WRITTEN)
def test_as_ffmpeg_decodes_it(folder, name):
    path = str(folder / name)
    if name in REFUSED:
        with pytest.raises(BadSampleError, match=REFUSED[name]):
            read_recording(path)
        return
    sound = decode(path, path)
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-i", path, "-vn", "-f", "f32le", "-"]
    wanted = np.frombuffer(subprocess.run(command, check=True, capture_output=True).stdout, "<f4")
    assert sound.sound.size == wanted.size
    assert np.abs(sound.sound - wanted.reshape(sound.sound.shape)).max() < 1e-5 < np.abs(wanted).max()


@pytest.mark.parametrize("kept", [0.45, 0.7, 0.95])
def test_what_is_cut_off_is_a_bad_sample(folder, tmp_path, kept):
    content = (folder / "index_first.m4a").read_bytes()
    (tmp_path / "cut.m4a").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(BadSampleError, match="cut off or broken|truncated: .* of 3.00 seconds can be decoded"):
        read_recording(str(tmp_path / "cut.m4a"))


def test_what_ends_between_two_packets_is_truncated(folder, tmp_path):
    """The data of the track, of which nothing is left after some packet."""
    av = pytest.importorskip("av")
    with av.open(str(folder / "index_first.m4a")) as container:
        end = [packet.pos for packet in container.demux(audio=0) if packet.size][60]
    (tmp_path / "cut.m4a").write_bytes((folder / "index_first.m4a").read_bytes()[:end])
    with pytest.raises(BadSampleError, match="truncated: 1.37 of 3.00 seconds can be decoded"):
        read_recording(str(tmp_path / "cut.m4a"))


@pytest.mark.parametrize("name", ["a.ogg", "a.opus", "flac.ogg", "a.mp3", "cbr.mp3"])
def test_joined_files_are_read_to_their_end(tmp_path, name):
    """As ``cat`` joins Ogg files, to a chain of streams, and MP3 files, each with a tag that counts its own frames."""
    words = {"flac.ogg": "-c:a flac", "cbr.mp3": "-b:a 64k"}.get(name, "").split()
    rate = "48000" if name == "a.opus" else "16000"
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "aevalsrc=0.4*sin(900*t)*t:d=1"]
    subprocess.run([*command, "-ar", rate, *words, tmp_path / name], check=True)
    once = read_recording(str(tmp_path / name)).numpy()
    assert abs(len(once) - 16000) < 100
    (tmp_path / f"joined_{name}").write_bytes((tmp_path / name).read_bytes() * 2)
    if name == "a.opus" and int(av.__version__.partition(".")[0]) < 16:  # FFmpeg 7 refuses a second header
        with pytest.raises(BadSampleError, match="cannot be decoded"):
            read_recording(str(tmp_path / f"joined_{name}"))
        return
    joined = read_recording(str(tmp_path / f"joined_{name}")).numpy()
    assert 0 <= len(joined) - 2 * len(once) < 3000  # MP3 has two frames of silence where files were joined
    for part in (slice(12000), slice(-12000, None)):
        assert np.abs(joined[part]).max() == pytest.approx(np.abs(once[part]).max(), rel=0.1)
    with open(tmp_path / f"joined_{name}", "rb") as file:
        assert np.array_equal(read_recording(file), joined)


def test_a_wav_that_was_written_to_a_pipe_may_count_no_samples(tmp_path):
    wave = np.random.default_rng(0).integers(-9999, 9999, 16000, dtype=np.int16)
    head = struct.pack("<4sI8sIHHIIHH4sI", b"RIFF", 0, b"WAVEfmt ", 16, 1, 1, 16000, 32000, 2, 16, b"data", 0)
    (tmp_path / "a.wav").write_bytes(head + wave.tobytes())
    assert np.abs(read_recording(str(tmp_path / "a.wav")).numpy() - wave / 2**15).max() < 1e-6
    (tmp_path / "empty.wav").write_bytes(head)
    with pytest.raises(BadSampleError, match="holds no samples"):
        read_recording(str(tmp_path / "empty.wav"))


def test_of_large_ogg_files_only_the_ends_are_read(tmp_path, monkeypatch):
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-f", "lavfi", "-i", "aevalsrc=0.4*sin(900*t):d=20"]
    for name in ("a.ogg", "b.ogg"):
        subprocess.run([*command, tmp_path / name], check=True)
    (tmp_path / "both.ogg").write_bytes((tmp_path / "a.ogg").read_bytes() + (tmp_path / "b.ogg").read_bytes())
    found = {name: ogg_start(str(tmp_path / name)) for name in ("a.ogg", "both.ogg")}
    assert not found["a.ogg"][1] and found["both.ogg"][1]
    monkeypatch.setattr("maskkit.modalities.audio.ogg._WHOLE", 0)
    monkeypatch.setattr("maskkit.modalities.audio.ogg._EDGE", 2**14)
    assert {name: ogg_start(str(tmp_path / name)) for name in found} == found
