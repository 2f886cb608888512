"""The front end is a setting of the model: bands are Kaldi's at any rate, and every command follows it."""

import json
import math
import wave

import numpy as np
import pytest
import torch

from maskkit import weights
from maskkit.cli import main
from maskkit.commands.open_model import open_model
from maskkit.data.source import Key
from maskkit.modalities import audio
from maskkit.modalities.audio.arrays import open_array
from maskkit.modalities.audio.drawing import spectrograms
from maskkit.modalities.audio.front_end import AUDIO_MAE, FrontEnd
from maskkit.modalities.audio.survey import survey
from maskkit.parts import build, describe
from maskkit.seeds import generator

soundfile = pytest.importorskip("soundfile")
kaldi = pytest.importorskip("torchaudio.compliance.kaldi")

BIRDS = FrontEnd(sample_rate=32_000, lowest=50.0, highest=15_000.0, window=0.03, shift=0.008)
FRONT_ENDS = [
    BIRDS,
    FrontEnd(sample_rate=44_100),
    FrontEnd(sample_rate=22_050, lowest=0.0, highest=8000.0, window=0.032, shift=0.0125),
    FrontEnd(sample_rate=8000, window=0.02, shift=0.02),
]
FLAGS = ["--sample-rate", "32000", "--lowest", "50", "--highest", "15000", "--window", "0.03", "--shift", "0.008"]


def tone(rate, hertz=14_000.0, seconds=1.0):
    time = np.arange(int(rate * seconds)) / rate
    noise = np.random.default_rng(0).normal(0, 0.02, len(time))
    return (0.3 * np.sin(2 * np.pi * hertz * time) + noise).astype(np.float32)


def theirs(sound, front_end, mels):
    """Log mel energies [T M] by torchaudio, whose lengths are in milliseconds."""
    return kaldi.fbank(
        torch.as_tensor(sound - sound.mean())[None],
        htk_compat=True,
        sample_frequency=front_end.sample_rate,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_length=front_end.window * 1000,
        frame_shift=front_end.shift * 1000,
        low_freq=front_end.lowest,
        high_freq=front_end.highest or 0.0,
    )


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """A tone of 14 kHz and another one, of 32 kHz and of 44.1 kHz, each in a class of its own."""
    folder = tmp_path_factory.mktemp("birds")
    for name, hertz in (("high", 14_000.0), ("low", 3000.0)):
        (folder / name).mkdir()
        for rate in (32_000, 44_100):
            soundfile.write(folder / name / f"{rate}.wav", tone(rate, hertz), rate, subtype="FLOAT")
    return folder


@pytest.fixture(scope="module")
def run(recordings, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    words = ["pretrain", "audio", "--data", str(recordings), "--out", str(out), "--size", "tiny", "--steps", "1"]
    sizes = ["--mels", "64", "--frames", "96", "--batch", "2", "--workers", "0", "--device", "cpu"]
    assert main([*words, *sizes, *FLAGS]) == 0
    return out


@pytest.mark.parametrize("front_end", FRONT_ENDS, ids=lambda each: str(each.sample_rate))
def test_energies_are_kaldis(front_end):
    sound = torch.randn(front_end.sample_rate, generator=generator(0)) * 0.1
    found = audio.fbank(sound - sound.mean(), 40, front_end)
    assert torch.allclose(found, theirs(sound, front_end, 40), atol=2e-3)
    assert len(found) == 1 + (len(sound) - front_end.window_samples) // front_end.shift_samples


def test_a_run_reads_at_the_rate_of_its_model(run, recordings):
    opened = open_model(run)
    assert opened.model.tokenizer.front_end == BIRDS
    assert weights.open_model(run / "model.safetensors").tokenizer.front_end == BIRDS
    assert json.loads((run / "config.json").read_text())["settings"]["model"]["sample_rate"] == 32_000
    mean, scale = opened.model.tokenizer.mean[0], opened.model.tokenizer.std[0]
    expected = theirs(tone(32_000), BIRDS, 64)[:96]
    for rate, tolerance in ((32_000, 2e-3), (44_100, None)):
        path = str(recordings / "high" / f"{rate}.wav")
        source = opened.data.at(path).open(opened.model.tokenizer, train=False)
        found = source.read(Key.of(0), generator(0))[0] * scale + mean
        assert (found.mean(dim=0).argmax() == expected.mean(dim=0).argmax()).item(), rate
        assert tolerance is None or torch.allclose(found, expected, atol=tolerance)  # not resampled
        ((_, sample),) = audio.samples(path, opened.model)
        assert torch.equal(sample[0] * scale + mean, found)


def test_every_command_follows_the_model(run, recordings, tmp_path):
    data = ["--data", str(recordings)]
    assert main(["reconstruct", str(run), str(recordings), "--out", str(tmp_path / "a.png")]) == 0
    assert main(["embed", str(run), *data, "--out", str(tmp_path / "a.npz"), "--device", "cpu", "--workers", "0"]) == 0
    assert main(["probe", str(run), *data, "--test-data", str(recordings), "--kind", "knn", "--device", "cpu"]) == 0
    again = ["pretrain", "audio", *data, "--out", str(run), "--resume", "--device", "cpu"]
    assert main(again) == 0
    with torch.no_grad():
        model = weights.open_model(run / "model.safetensors").eval()
        batch = torch.stack([sample for _, sample in audio.samples(recordings, model)])
        figure = spectrograms(batch, model(batch, rng=generator(0)), model)
    cell = figure.axes[0]
    assert cell.get_xlim() == (0, pytest.approx(96 * 0.008)) and "8,000" in [
        t.get_text() for t in cell.get_yticklabels()
    ]
    with wave.open(str(audio.write_sound(batch[0], model, tmp_path / "a.wav"))) as file:
        assert file.getframerate() == 32_000
        sound = np.frombuffer(file.readframes(10**6), "<i2")
    assert abs(np.abs(np.fft.rfft(sound)).argmax() * 32_000 / len(sound) - 14_000) < 500


def test_a_run_that_knew_no_front_end_goes_on(recordings, tmp_path):
    """As an earlier version wrote it."""
    words = ["pretrain", "audio", "--data", str(recordings), "--out", str(tmp_path / "run"), "--device", "cpu"]
    small = ["--size", "tiny", "--mels", "64", "--frames", "96", "--batch", "2", "--workers", "0", "--steps", "1"]
    assert main([*words, *small]) == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    for name in ("sample_rate", "lowest", "highest", "window", "shift"):
        del record["settings"]["model"][name]
    del record["model_parts"]["tokenizer"]["front_end"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(record))
    (tmp_path / "run" / "model.safetensors").unlink()
    assert main([*words, "--resume"]) == 0
    stored = describe(open_model(tmp_path / "run").model.tokenizer)
    del stored["front_end"]
    assert audio.data.fitting_clip(build(stored)).front_end == AUDIO_MAE


def test_arrays_and_surveys_follow_the_front_end(recordings, tmp_path):
    waves = np.stack([tone(32_000)] * 2)
    np.savez(tmp_path / "own.npz", waves=waves)
    np.savez(tmp_path / "other.npz", waves=np.stack([tone(44_100)] * 2), rate=44_100)
    clip = audio.Clip(frames=96, mels=64, mean=0.0, scale=1.0, front_end=BIRDS)
    expected = theirs(tone(32_000), BIRDS, 64)
    found = [
        open_array(str(tmp_path / name), clip).read(Key.of(0), generator(0))[0] for name in ("own.npz", "other.npz")
    ]
    assert torch.allclose(found[0], expected[:96], atol=2e-3)
    assert found[1].mean(dim=0).argmax() == expected.mean(dim=0).argmax()
    np.save(tmp_path / "energies.npy", expected[None].numpy())
    facts = survey(tmp_path / "energies.npy", mels=64, front_end=BIRDS)
    assert facts.median == pytest.approx(len(expected) * 0.008) and facts.rates == (32_000,)
    mean, _ = audio.measure(tmp_path / "own.npz", mels=64, front_end=BIRDS)
    assert mean == pytest.approx(expected.mean().item(), abs=1e-3)
    settings = audio.AudioMAE(seconds=1.0, sample_rate=32_000, shift=0.008, window=0.03)
    assert settings.length == 128  # of 8 ms


def test_a_file_of_the_models_rate_is_not_resampled(tmp_path):
    sound = tone(44_100)
    soundfile.write(tmp_path / "a.wav", sound, 44_100, subtype="FLOAT")
    front_end = FrontEnd(sample_rate=44_100)
    whole = audio.read_recording(str(tmp_path / "a.wav"), front_end=front_end)
    part = audio.read_recording(str(tmp_path / "a.wav"), samples=4000, place=0.5, front_end=front_end)
    start = round(0.5 * (44_100 - 4000))
    assert np.array_equal(whole, sound) and np.array_equal(part, sound[start : start + 4000])


def test_models_carry_their_front_end():
    given = {"sample_rate": 32_000, "lowest": 50.0, "highest": 15_000.0, "window": 0.03, "shift": 0.008}
    for model in (
        audio.audiomae("tiny", frames=96, mels=64, **given),
        audio.model("audiomae", "tiny", frames=96, mels=64, **given),
        audio.model("simmim", "tiny", frames=96, mels=64, **given),
    ):
        assert model.tokenizer.front_end == BIRDS and build(describe(model.tokenizer)) == model.tokenizer
    plain = audio.audiomae("tiny", frames=96, mels=64, sample_rate=16_000).tokenizer
    assert plain == audio.patches(16, frames=96, mels=64) and plain.front_end is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sample_rate": 0}, "--sample-rate must be at least 1000, got 0"),
        ({"sample_rate": 16_000.5}, "--sample-rate must be a whole number"),
        ({"lowest": -1.0}, "--lowest must be at least 0, got -1.0"),
        ({"lowest": 4000.0, "highest": 4000.0}, "got lowest 4000 and highest 4000"),
        ({"highest": 8001.0}, "half the sample rate, 8000 Hz, got lowest 20 and highest 8001"),
        ({"highest": math.nan}, "--highest must be positive, got nan"),
        ({"window": 1e-4}, "window must last from 2 to 65536 samples"),
        ({"window": 5.0}, "window must last from 2 to 65536 samples"),
        ({"window": math.inf}, "--window must be finite, got inf"),
        ({"shift": 1e-6}, "shift must be at least a sample, 6.25e-05 s, and at most the window, 0.025 s, got 1e-06 s"),
        ({"shift": 0.03}, "at most the window, 0.025 s, got 0.03 s"),
        ({"shift": math.nan}, "--shift must be positive, got nan"),
    ],
    ids=str,
)
def test_a_front_end_that_does_not_fit_is_one_line(change, message, tmp_path, capsys):
    with pytest.raises(ValueError, match=message):
        audio.audiomae("tiny", **change)
    if isinstance(change.get("sample_rate"), float):
        return
    words = [word for name, value in change.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    for method in ("audiomae", "simmim"):
        start = ["pretrain", "audio", "--data", str(tmp_path), "--out", str(tmp_path / "never"), "--method", method]
        assert main([*start, *words]) == 2
        told = capsys.readouterr().err
        assert message in told and told.count("\n") == 1
