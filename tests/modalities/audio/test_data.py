"""Recordings of every format from real files, and whatever is wrong with one, told in one line."""

import json
import math
import os
import pickle
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from maskkit.data.loader import read_all
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError, Key
from maskkit.modalities import audio
from maskkit.modalities.audio.arrays import open_array
from maskkit.modalities.audio.data import open_recordings
from maskkit.modalities.audio.mp3 import lacks_length
from maskkit.modalities.audio.reader import read_recording
from maskkit.modalities.audio.survey import survey
from maskkit.modalities.audio.transforms import Clip
from maskkit.seeds import generator

soundfile = pytest.importorskip("soundfile")

CLIP = audio.Clip(frames=64, mels=64, mean=0.0, scale=1.0)


def tone(seconds=1.0, rate=16_000, hertz=440.0, channels=1):
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)[:, None].repeat(channels, 1)


def write(path, sound=None, rate=16_000, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(rate=rate) if sound is None else sound, rate, **options)
    return str(path)


def peak_hertz(wave):
    return torch.fft.rfft(wave).abs().argmax().item() * 16_000 / len(wave)


FORMATS = [
    ("a.wav", {"subtype": "PCM_16"}),
    ("a.wav", {"subtype": "PCM_24"}),
    ("a.wav", {"subtype": "PCM_U8"}),
    ("a.wav", {"subtype": "FLOAT"}),
    ("a.wav", {"subtype": "DOUBLE"}),
    ("a.flac", {}),
    ("a.ogg", {"subtype": "VORBIS"}),
    ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
    ("a.mp3", {}),
    ("a.aiff", {}),
    ("a.au", {}),
    ("a.caf", {}),
    ("a.w64", {}),
    ("a.rf64", {"format": "RF64"}),
    ("a.au", {"subtype": "G721_32"}),
]
GSM = ("a.wav", {"subtype": "GSM610"})  # adds sound to silence


@pytest.mark.parametrize(("name", "options"), [*FORMATS, GSM], ids=lambda value: str(value))
def test_every_format_gives_the_same_sound(tmp_path, name, options):
    path = write(tmp_path / name, **options)
    wave = audio.read_recording(path)
    assert wave.dtype == torch.float32 and abs(len(wave) - 16_000) <= 1200  # lossy coders pad by a frame
    loudest = wave[4000:-4000].abs().max()  # lossy coders overshoot where the tone sets in
    assert peak_hertz(wave) == pytest.approx(440, abs=2) and loudest == pytest.approx(0.5, abs=0.05)
    with open(path, "rb") as file:
        assert torch.equal(audio.read_recording(file, name="in memory"), wave)
    part = audio.read_recording(path, samples=4000, place=0.5)
    assert abs(len(part) - 4000) <= 1 and peak_hertz(part) == pytest.approx(440, abs=5)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000])
def test_any_rate_becomes_16_kilohertz(tmp_path, rate):
    wave = audio.read_recording(write(tmp_path / "a.wav", tone(1.0, rate, 1000), rate))
    assert len(wave) == 16_000 and peak_hertz(wave) == pytest.approx(1000, abs=2)
    middle = wave[2000:-2000]
    time = torch.arange(2000, 14_000) / 16_000
    assert (middle - 0.5 * (2 * math.pi * 1000 * time).sin()).abs().max() < 0.01


def test_an_odd_rate_needs_no_gigabytes_and_stays_in_tune(tmp_path):
    wave = audio.read_recording(write(tmp_path / "a.flac", tone(2.0, 44_099, 1000), 44_099))
    assert len(wave) == pytest.approx(32_000, rel=2e-3) and peak_hertz(wave) == pytest.approx(1000, rel=2e-3)


def test_what_lies_above_8_kilohertz_does_not_come_back_lower(tmp_path):
    sound = tone(1.0, 48_000, 10_000) + tone(1.0, 48_000, 1000) * 0.1
    wave = audio.read_recording(write(tmp_path / "a.wav", sound, 48_000))
    assert peak_hertz(wave) == pytest.approx(1000, abs=2)


def test_channels_are_averaged(tmp_path):
    left, right = tone(hertz=440), tone(hertz=1000)
    wave = audio.read_recording(write(tmp_path / "a.wav", np.hstack([left, right]), subtype="FLOAT"))
    assert torch.allclose(wave, torch.from_numpy((left + right)[:, 0] / 2), atol=1e-6)


def test_only_the_part_asked_for_is_decoded(tmp_path):
    """A long file: the excerpt lies where it should."""
    time = np.arange(60 * 16_000) / 16_000
    sound = np.sin(2 * np.pi * (500 + 10 * time) * time / 1).astype(np.float32)
    path = write(tmp_path / "a.wav", sound, subtype="FLOAT")
    part = audio.read_recording(path, samples=16_000, place=0.25)
    start = round(0.25 * 59 * 16_000)
    assert np.array_equal(part.numpy(), sound[start : start + 16_000])
    assert np.array_equal(audio.read_recording(path, samples=16_000, place=1.0).numpy(), sound[-16_000:])


def broken(folder):
    """Write every kind of bad file; returns names and what is said of each."""
    good = open(write(folder / "good.wav"), "rb").read()
    flac = open(write(folder / "good.flac", np.random.default_rng(0).normal(0, 0.1, 16_000)), "rb").read()
    mp3 = open(write(folder / "good.mp3"), "rb").read()
    contents = {
        "empty.wav": (b"", "empty file"),
        "header.wav": (good[:44], "holds no samples, only a header"),
        "half-header.wav": (good[:20], "cannot be decoded"),
        "noise.wav": (np.random.default_rng(0).bytes(3000), "not audio or a format libsndfile does not know"),
        "text.mp3": (b"no music at all " * 100, "not audio or a format libsndfile does not know"),
        "cut.flac": (flac[: len(flac) // 2], ("cannot be decoded", "truncated: ")),  # by the version of libsndfile
        "cut.mp3": (mp3[: len(mp3) // 2], "truncated: "),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    reasons = {name: reason for name, (_, reason) in contents.items()}
    write(folder / "silent.wav", np.zeros(16_000))
    write(folder / "constant.wav", np.full(16_000, 0.3))
    write(folder / "nan.wav", np.full(16_000, np.nan, np.float32), subtype="FLOAT")
    write(folder / "short.wav", tone(0.02))
    (folder / "folder.wav").mkdir()
    os.mkfifo(folder / "pipe.wav")
    reasons |= {"silent.wav": "silent", "constant.wav": "silent", "nan.wav": "holds NaN or infinite values"}
    reasons |= {"short.wav": "too short: 0.020 s; a frame needs 0.025 s", "folder.wav": "a folder, not a recording"}
    return reasons | {"pipe.wav": "not an ordinary file", "nowhere.wav": "no such file or directory"}


def test_every_bad_file_is_named_with_its_reason(tmp_path):
    for name, reason in broken(tmp_path).items():
        with pytest.raises(BadSampleError) as caught:
            audio.read_recording(str(tmp_path / name))
        assert caught.value.path == str(tmp_path / name), name
        assert caught.value.reason.startswith(reason) and "\n" not in caught.value.reason, (name, caught.value.reason)


def test_bad_files_are_skipped_and_named(tmp_path):
    reasons = broken(tmp_path)
    skips = Skips(total=20, limit=1.0)
    source = open_recordings(tmp_path, CLIP)
    read = [index for indices, _ in read_all(source, batch=4, skips=skips) for index in indices]
    assert {os.path.basename(source.path(index)) for index in read} == {"good.wav", "good.flac", "good.mp3"}
    listed = set(reasons) - {"folder.wav", "pipe.wav", "nowhere.wav"}  # a folder's listing leaves these out itself
    assert {os.path.basename(path) for path in skips.seen} == listed


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg")
def test_a_format_that_is_not_read_says_how_to_convert_it(tmp_path, monkeypatch):
    monkeypatch.setattr("maskkit.modalities.audio.reader.can_decode", lambda: False)  # without PyAV
    write(tmp_path / "a.wav")
    command = ["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "a.wav"), str(tmp_path / "a.m4a")]
    subprocess.run(command, check=True)
    with pytest.raises(BadSampleError, match="convert it: ffmpeg -i IN OUT.flac"):
        audio.read_recording(str(tmp_path / "a.m4a"))


SOUND_AT = 3.0  # seconds, in a recording of nine


def mostly_silent(rate=16_000):
    """Nine seconds of a microphone's offset, and half a second of sound."""
    sound = np.full((9 * rate, 1), 0.1, np.float32)
    start = int(SOUND_AT * rate)
    sound[start : start + rate // 2] += tone(0.5, rate)
    return sound


def sources(folder, sound, excerpt):
    """Open the same recording as a file and as an array."""
    write(folder / "a.wav", sound, subtype="FLOAT")
    np.save(folder / "a.npy", sound.T)
    clip = audio.Clip(frames=48, mels=64, mean=0.0, scale=1.0, excerpt=excerpt)
    return open_recordings(folder / "a.wav", clip), open_recordings(folder / "a.npy", clip)


FLOOR = math.log(torch.finfo(torch.float32).eps)  # Kaldi's energy of silence


def test_a_random_excerpt_without_sound_becomes_the_one_around_the_loudest_sample(tmp_path):
    for source in sources(tmp_path, mostly_silent(), "random"):
        found = [source.read(Key.of(0), generator(seed)) for seed in range(30)]
        assert all(each.max() > -5 for each in found)
        sums = [round(each.sum().item(), 2) for each in found]
        around = max(set(sums), key=sums.count)
        assert 15 < sums.count(around) < 30  # the others, drawn where there is sound, stay where they were drawn
        assert torch.equal(source.read(Key.of(0), generator(3)), found[3])
    for end in (slice(None), slice(None, None, -1)):  # the loudest sample lies at the very start, at the very end
        sound = np.zeros((9 * 16_000, 1), np.float32)
        sound[:2000] = tone(2000 / 16_000) * np.linspace(1, 0, 2000)[:, None]
        for source in sources(tmp_path, np.ascontiguousarray(sound[end]), "random"):
            found = [source.read(Key.of(0), generator(seed)) for seed in range(5)]
            assert all(each.shape == (1, 48, 64) and each.max() > -5 for each in found)


def test_a_silent_start_is_trained_on_as_it_is(tmp_path):
    for source in sources(tmp_path, mostly_silent(), "start"):
        assert source.read(Key.of(0), generator(0)).max() < FLOOR + 1


def test_only_a_recording_that_is_silent_throughout_is_bad(tmp_path):
    for excerpt in ("start", "random"):
        for source in sources(tmp_path, np.full((9 * 16_000, 1), 0.1, np.float32), excerpt):
            with pytest.raises(BadSampleError, match="silent$"):
                source.read(Key.of(0), generator(0))
    broken = np.zeros((9 * 16_000, 1), np.float32)
    broken[80_000] = np.nan
    for source in sources(tmp_path, broken, "start"):
        with pytest.raises(BadSampleError, match="NaN"):
            source.read(Key.of(0), generator(0))


@pytest.mark.parametrize(("name", "options"), FORMATS, ids=lambda value: str(value))
def test_sound_is_found_in_every_format(tmp_path, name, options):
    rate = 48_000  # the place is one of the file's own samples, of which several blocks have to be searched
    sound = mostly_silent(rate) - np.float32(0.1)
    path = write(tmp_path / name, sound if options.get("subtype") != "PCM_U8" else sound.round(2), rate, **options)
    for place in (0.0, 0.9):
        part = audio.read_recording(path, samples=8000, place=place, around_sound=True)
        assert abs(len(part) - 8000) <= 1 and peak_hertz(part) == pytest.approx(440, abs=5)
        assert audio.read_recording(path, samples=8000, place=place).abs().max() < 0.02


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="no ffmpeg")
def test_a_file_that_does_not_say_its_length_says_how_to_mend_it(tmp_path):
    write(tmp_path / "a.wav")
    command = ["ffmpeg", "-loglevel", "error", "-i", str(tmp_path / "a.wav"), "-f", "flac", "-"]
    piped = subprocess.run(command, check=True, capture_output=True).stdout
    (tmp_path / "piped.flac").write_bytes(piped)
    wanted = r"piped.flac: does not say how long it is; rewrite it: ffmpeg -i IN OUT.flac"
    for samples in (None, 4000):
        with pytest.raises(BadSampleError, match=wanted):
            audio.read_recording(str(tmp_path / "piped.flac"), samples=samples, place=0.5)
    assert survey(tmp_path).median == 1.0  # of the other file
    with pytest.raises(ValueError, match=wanted):
        survey(tmp_path / "piped.flac")


def test_folders_name_classes_and_lists_are_the_authors(tmp_path):
    paths = [write(tmp_path / word / f"{number}.wav") for word in ("no", "yes") for number in range(2)]
    source = open_recordings(tmp_path, CLIP)
    assert [source.label(index) for index in range(4)] == ["no", "no", "yes", "yes"]
    entries = [{"wav": path, "labels": "/m/09x0r,/m/05zppz"} for path in paths]
    (tmp_path / "train.json").write_text(json.dumps({"data": entries}))
    listed = open_recordings(tmp_path / "train.json", CLIP)
    assert [listed.path(index) for index in range(4)] == paths and listed.label(2) == "/m/09x0r,/m/05zppz"
    (tmp_path / "train.csv").write_text("wav,labels\n" + "".join(f'{path},"/m/1,/m/2"\n' for path in paths))
    table = open_recordings(tmp_path / "train.csv", CLIP)
    assert [table.path(index) for index in range(4)] == paths and table.label(0) == "/m/1,/m/2"
    assert torch.equal(listed.read(Key.of(0), generator(0)), source.read(Key.of(0), generator(0)))


def test_arrays_of_waveforms_are_read_as_files_are(tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, 17_640)
    write(tmp_path / "a" / "a.wav", sound, 22_050, subtype="PCM_16")
    whole = (sound * 32768).round().clip(-32768, 32767).astype(np.int16)
    np.savez(tmp_path / "w.npz", waves=np.stack([whole, whole]), rate=22_050, labels=np.array(["up", "down"]))
    source = open_recordings(tmp_path / "w.npz", CLIP)
    expected = open_recordings(tmp_path / "a", CLIP).read(Key.of(0), generator(0))
    assert torch.allclose(source.read(Key.of(1), generator(0)), expected, atol=1e-2)
    assert source.label(1) == "down" and source.path(1).endswith("w.npz[1]") and len(source) == 2
    again = pickle.loads(pickle.dumps(source))
    assert torch.equal(again.read(Key.of(0), generator(0)), source.read(Key.of(0), generator(0)))
    np.save(tmp_path / "stereo.npy", np.stack([tone(channels=2).T] * 3))
    assert open_recordings(tmp_path / "stereo.npy", CLIP).read(Key.of(2), generator(0)).shape == (1, 64, 64)


def test_arrays_of_energies_are_taken_as_they_are(tmp_path):
    energies = np.random.default_rng(0).normal(-5, 3, (4, 50, 64)).astype(np.float32)
    np.savez(tmp_path / "e.npz", fbanks=energies)
    source = open_recordings(tmp_path / "e.npz", audio.Clip(frames=64, mels=64, mean=-5.0, scale=3.0))
    assert source.row.holds_energies and source.row.seconds(source.shape) == 0.5
    found = source.read(Key.of(2), generator(0))[0]
    assert torch.allclose(found[:50], torch.from_numpy(energies[2] + 5) / 3) and found[50:].eq(5 / 3).all()
    mean, std = audio.measure(tmp_path / "e.npz", mels=64)
    assert mean == pytest.approx(energies.mean(), abs=1e-4) and std == pytest.approx(energies.std(), abs=1e-4)


def test_gain_and_roll_are_refused_where_they_would_do_nothing(tmp_path):
    np.save(tmp_path / "e.npy", np.zeros((2, 90, 64), np.float32))
    for change in ({"gain": True}, {"roll": True}):
        with pytest.raises(ValueError, match=r"e\.npy: holds energies, not waveforms; gain and roll do not fit"):
            open_recordings(tmp_path / "e.npy", replace(CLIP, **change))


def test_a_waveform_without_a_frame_is_a_bad_sample(tmp_path):
    np.savez(tmp_path / "w.npz", waves=tone(0.1, 48_000).T[:, :1100], rate=48_000)
    with pytest.raises(BadSampleError, match=r"w\.npz\[0\]: too short: 0\.023 s; a frame needs 0\.025 s"):
        open_recordings(tmp_path / "w.npz", CLIP).read(Key.of(0), generator(0))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": np.zeros((2, 9)), "b": np.zeros((2, 9))}, "holds a, b; call the samples 'waves'"),
        ({"waves": np.array(["x", "y"])}, "holds <U1; save waveforms as int16 or float32"),
        ({"waves": np.zeros((2, 3, 4, 5))}, "shape 2x3x4x5 is not N recordings"),
        ({"waves": np.zeros((2, 900)), "rate": np.array([16000, 8000])}, r"\[16000, 8000\] is no sample rate"),
        ({"waves": np.zeros((2, 900)), "rate": np.array("fast")}, "'fast' is no sample rate"),
        ({"waves": np.zeros((2, 900)), "rate": np.array(np.nan)}, "nan is no sample rate"),
        ({"waves": np.zeros((2, 900)), "rate": np.array(0)}, "0 is no sample rate"),
        ({"waves": np.zeros((2, 900)), "labels": np.zeros(3)}, r"labels of shape \[3\] for 2 samples"),
        ({"waves": np.array([None, {}])}, "Object arrays cannot be loaded|pickle"),
        ({"waves": np.zeros((2, 900), np.int64)}, "holds int64; save waveforms as int16 or float32"),
        ({"x": np.zeros((2, 300, 40))}, "shape 2x300x40 looks like log mel energies with 40 bands; give --mels 40"),
    ],
)
def test_arrays_that_do_not_fit_say_so(tmp_path, arrays, message):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        open_array(where=str(tmp_path / "x.npz"), clip=CLIP).label(0)
    assert "\n" not in str(caught.value)


def test_a_survey_reads_headers_and_passes_over_bad_ones(tmp_path):
    for number in range(9):
        write(tmp_path / f"{number}.wav", tone(1.0 + (number == 8) * 4, 44_100), 44_100)
    write(tmp_path / "9.flac", tone(2.0))
    (tmp_path / "bad.wav").write_bytes(b"")
    facts = survey(tmp_path)
    assert facts.count == 11 and facts.median == pytest.approx(1.0) and 1 < facts.long <= 5
    assert facts.rates == (44_100, 16_000)
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "bad.wav").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"none of 1 samples can be read; the first: .*bad\.wav: not audio"):
        survey(tmp_path / "only")


def test_mean_and_deviation_are_those_of_all_frames(tmp_path):
    rng = np.random.default_rng(0)
    waves = [rng.normal(0, 0.05 * (number + 1), int(16_000 * (0.5 + 0.3 * number))) for number in range(4)]
    for number, sound in enumerate(waves):
        write(tmp_path / f"{number}.wav", sound, subtype="FLOAT")
    (tmp_path / "bad.wav").write_bytes(b"")
    tensors = [torch.from_numpy(sound).float() for sound in waves]
    everything = torch.cat([audio.fbank(sound - sound.mean()) for sound in tensors])
    mean, std = audio.measure(tmp_path)
    assert mean == pytest.approx(everything.mean().item(), abs=1e-3)
    assert std == pytest.approx(everything.std(correction=0).item(), abs=1e-3)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="these tests write MP3 files with ffmpeg")
@pytest.mark.parametrize("order", [(32, 320), (320, 32), (32,), (128, 64, 192)])
@pytest.mark.parametrize("rate", [44100, 22050])
@pytest.mark.parametrize("tag", [b"", b"ID3\x04\0\0\0\0\x01\x00" + b"\0" * 128])
def test_an_mp3_that_does_not_say_its_length_is_read_whole(tmp_path, order, rate, tag):
    """libsndfile#1001: it guesses from the first frame, so 9 of 20 seconds were never read, or 110 expected."""
    content = tag
    for number, bits in enumerate(order):
        bits = bits if rate > 24000 else min(bits, 160)
        words = ["-f", "lavfi", "-i", f"sine=frequency={300 * (number + 1)}:duration=3:sample_rate={rate}"]
        words += ["-b:a", f"{bits}k", "-write_xing", "0", "-id3v2_version", "0", str(tmp_path / "part.mp3")]
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *words], check=True)
        content += (tmp_path / "part.mp3").read_bytes()
    (tmp_path / "a.mp3").write_bytes(content)
    decode = ["ffmpeg", "-loglevel", "error", "-i", tmp_path / "a.mp3", "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
    wanted = np.frombuffer(subprocess.run(decode, check=True, capture_output=True).stdout, "<i2") / 32768
    wave = read_recording(str(tmp_path / "a.mp3")).numpy()
    assert abs(len(wave) - len(wanted)) < 0.05 * 16000
    for second in range(3 * len(order)):  # the loudest tone of each second is that of an independent decoder
        mine, theirs = (np.abs(np.fft.rfft(x[second * 16000 + 4000 :][:8000])).argmax() for x in (wave, wanted))
        assert abs(int(mine) - int(theirs)) <= 1
    with open(tmp_path / "a.mp3", "rb") as file:
        assert torch.equal(read_recording(file), torch.from_numpy(wave))


def test_an_mp3_that_says_its_length_is_opened_as_it_is(tmp_path):
    if shutil.which("ffmpeg") is None:
        pytest.skip("writes an MP3 file with ffmpeg")
    words = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2", str(tmp_path / "a.mp3")]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *words], check=True)
    with open(tmp_path / "a.mp3", "rb") as file:
        assert not lacks_length(file) and file.tell() == 0
    assert len(read_recording(str(tmp_path / "a.mp3"))) == 2 * 16000


@pytest.mark.parametrize("loud", [1e19, 1e30, 3e38])
def test_sound_that_is_too_loud_for_a_spectrogram_is_a_bad_sample(tmp_path, loud):
    wave = np.sin(np.arange(16000) / 7).astype(np.float32)
    wave[8000] = loud
    soundfile.write(tmp_path / "a.wav", wave, 16000, subtype="FLOAT")
    source = open_recordings(str(tmp_path / "a.wav"), Clip(frames=64, mels=32, mean=0.0, scale=1.0))
    with pytest.raises(BadSampleError, match="log mel energies are not finite|holds NaN or infinite"):
        source.read(Key.of(0), torch.Generator().manual_seed(0))


def test_a_rate_of_no_recording_is_a_bad_sample(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(4000, dtype=np.float32), 16000)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[24:28] = (2**31 - 1).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(BadSampleError, match="its header says 2147483647 samples per second, not 1,000 to 1,000,000"):
        read_recording(str(tmp_path / "a.wav"))
    np.savez(tmp_path / "a.npz", waves=np.zeros((2, 400), np.float32), rate=2**31 - 1)
    with pytest.raises(ValueError, match="no sample rate"):
        open_recordings(str(tmp_path / "a.npz"), Clip(frames=64, mels=32, mean=0.0, scale=1.0))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="these tests write AAC with ffmpeg")
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "video.mp4"])
def test_aac_is_read_by_pyav(tmp_path, name):
    pytest.importorskip("av")
    sound = ["-f", "lavfi", "-i", "sine=frequency=700:duration=3:sample_rate=44100", "-ac", "2", "-c:a", "aac"]
    picture = ["-f", "lavfi", "-i", "testsrc2=size=64x48:duration=3", "-c:v", "mpeg4"] if name == "video.mp4" else []
    words = [*picture[:4], *sound[:4], *picture[4:], *sound[4:], str(tmp_path / name)]
    subprocess.run(["ffmpeg", "-loglevel", "error", "-y", *words], check=True)
    decode = ["ffmpeg", "-loglevel", "error", "-i", tmp_path / name, "-f", "s16le", "-ac", "1", "-ar", "16000", "-"]
    wanted = np.frombuffer(subprocess.run(decode, check=True, capture_output=True).stdout, "<i2") / 32768
    wave = read_recording(str(tmp_path / name)).numpy()
    assert abs(len(wave) - len(wanted)) <= 32
    assert np.abs(wave[8000:24000] - wanted[8000:24000]).max() < 0.01
    part = read_recording(str(tmp_path / name), samples=8000, place=0.5).numpy()
    assert len(part) == 8000
    with open(tmp_path / name, "rb") as file:
        assert np.array_equal(read_recording(file).numpy(), wave)
    assert len(open_recordings(str(tmp_path), Clip(frames=64, mels=32, mean=0.0, scale=1.0))) == 1


def test_what_neither_library_knows_is_one_bad_sample(tmp_path):
    (tmp_path / "a.m4a").write_bytes(b"no sound at all" * 100)
    with pytest.raises(BadSampleError) as error:
        read_recording(str(tmp_path / "a.m4a"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["a.m4a", "a.wav", "a.m3u8"])
def test_a_playlist_is_refused_and_what_it_names_is_not_opened(tmp_path, other_file, name):
    for content in ("ffconcat version 1.0\nfile other.mp4\n", "#EXTM3U\n#EXTINF:1,\nother.mp4\n#EXT-X-ENDLIST\n"):
        (tmp_path / name).write_text(content)
        with pytest.raises(BadSampleError):
            read_recording(str(tmp_path / name))
    assert not other_file.is_set()
