"""The command line on real recordings."""

import json

import numpy as np
import pytest
import torch
from commands import restored, settings_of

from maskkit.cli import main
from maskkit.data.source import BadSampleError, Key
from maskkit.engine.loop import pretrain
from maskkit.modalities import audio
from maskkit.modalities.audio.inputs import AUDIOSET_MEAN
from maskkit.modalities.audio.sample import tone

soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Tones of about a second in two classes, one file broken."""
    folder = tmp_path_factory.mktemp("recordings")
    for number in range(24):
        (folder / "ab"[number % 2]).mkdir(exist_ok=True)
        sound = tone(number, frames=60 + number)
        soundfile.write(folder / "ab"[number % 2] / f"{number}.flac", sound.clamp(-1, 1).numpy(), 16_000)
    (folder / "a" / "broken.wav").write_bytes(b"junk")
    return folder


def chosen(recordings, capsys, *words):
    settings = settings_of(audio, "--data", recordings, "--out", recordings / "out", *words)
    return settings, capsys.readouterr().err


def test_defaults_fit_the_recordings_and_are_said(recordings, capsys):
    settings, said = chosen(recordings, capsys)
    assert settings.model.frames == 96 and settings.model.decoder == "window" and settings.batch == 25
    assert "25 recordings, about 0.7 s" in said and "clips of 96 frames" in said and "chosen: audiomae-" in said
    assert "resampled" not in said
    words = ["--seconds", 2.0, "--measure", "--mask", "time", "--size", "small"]
    settings, said = chosen(recordings, capsys, *words)
    assert settings.model.frames == 208 and settings.model.size == "small" and settings.model.mask == "time"
    assert settings.model.mean not in (None, AUDIOSET_MEAN) and "measured mean" in said


def test_what_was_chosen_is_restored(recordings, capsys):
    settings, _ = chosen(recordings, capsys, "--measure", "--gain")
    assert restored(audio, settings) == settings


def test_training_and_evaluation_see_what_they_should(recordings):
    model = audio.AudioMAE(size="tiny", frames=96).build()
    train = audio.Data(root=str(recordings), gain=True).open(model.tokenizer, train=True)
    check = audio.Data(root=str(recordings), gain=True).open(model.tokenizer, train=False)
    rng = torch.Generator().manual_seed(0)
    assert not train.read(Key.of(1), rng).equal(train.read(Key.of(1), rng))  # another gain
    shown = check.read(Key.of(1), rng)
    assert (
        torch.allclose(shown, check.read(Key.of(1), rng), equal_nan=True)
        and shown.isnan().any()
        and not train.read(Key.of(1), rng).isnan().any()
    )
    ignored = audio.Data(root=str(recordings), padding="ignored").open(model.tokenizer, train=True)
    assert ignored.read(Key.of(1), rng).isnan().any()


def test_what_has_one_patch_in_time_is_not_trained_on_without_padding(tmp_path):
    model = audio.AudioMAE(size="tiny", frames=96, mels=64, mask="time", mask_ratio=0.5).build()
    for name, frames in (("one", 16), ("two", 17)):
        soundfile.write(tmp_path / f"{name}.wav", tone(0, frames=frames).clamp(-1, 1).numpy(), 16_000)
        np.save(tmp_path / f"{name}.npy", tone(0, frames=frames)[None].numpy())
        np.save(tmp_path / f"{name}-energies.npy", audio.fbank(tone(0, frames=frames), 64)[None].numpy())
    rng = torch.Generator().manual_seed(0)
    for kind in (".wav", ".npy", "-energies.npy"):
        one, two = (audio.Data(root=f"{tmp_path}/{name}{kind}", padding="ignored") for name in ("one", "two"))
        with pytest.raises(BadSampleError, match=r"too short: 0\.175 s; .* two patches in time need 0\.185 s"):
            one.open(model.tokenizer, train=True).read(Key.of(0), rng)
        assert model(two.open(model.tokenizer, train=True).read(Key.of(0), rng)[None], rng=rng).loss.isfinite()
        assert one.open(model.tokenizer, train=False).read(Key.of(0), rng)[0, :16].isfinite().all()  # it has features
        filled = audio.Data(root=one.root).open(model.tokenizer, train=True)
        assert model(filled.read(Key.of(0), rng)[None], rng=rng).loss.isfinite()


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], None),
        (["--mask-ratio", "0.7"], 0.7),
        (["--mask", "both", "--mask-ratio", "0.6", "0.5"], (0.6, 0.5)),
        (["--mask", "both"], None),
    ],
)
def test_the_mask_ratio_is_a_number_or_a_pair(recordings, words, wanted):
    settings = settings_of(audio, "--data", recordings, "--out", "out", "--size", "tiny", *words)
    model = settings.model
    assert model.mask_ratio == wanted
    masker = model.build().masker
    assert getattr(masker, "ratios", None) == ((wanted or (0.7, 0.3)) if "both" in words else None)
    assert restored(audio, settings).model == model


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--mask", "both", "--mask-ratio", "0.6"], "mask ratio of 'both' must be a pair for time and frequency, such"),
        (["--mask", "time", "--mask-ratio", "0.6", "0.5"], "mask ratio of 'time' must be one number, such as 0.8, got"),
        (["--mask-ratio", "1.5"], "--mask-ratio must lie in (0, 1), got 1.5"),
    ],
)
def test_a_mask_ratio_that_does_not_fit_is_one_line(recordings, capsys, words, message):
    start = ["pretrain", "audio", "--data", str(recordings), "--out", str(recordings / "never")]
    assert main([*start, *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert "recordings" not in captured.out  # before any of them is looked at


@pytest.mark.slow
def test_the_loss_falls_on_real_files_and_every_command_works(recordings, tmp_path, capsys):
    """Issue figure 5."""
    small = audio.AudioMAE(size="tiny", frames=80, mels=64, patch_size=16, mean=-8.0, std=5.0)
    settings, _ = chosen(recordings, capsys)
    changes = {"model": small, "out": tmp_path / "run", "steps": 40, "batch": 8, "workers": 0, "log_every": 1}
    pretrain(type(settings)(**{**vars(settings), **changes}), audio)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines]
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:4])
    assert "broken.wav\tnot audio" in (tmp_path / "run" / "skipped.txt").read_text()
    run = str(tmp_path / "run")
    assert main(["reconstruct", run, str(recordings / "a"), "--out", str(tmp_path / "r.png"), "--limit", "3"]) == 0
    assert main(["embed", run, "--data", str(recordings), "--out", str(tmp_path / "f.npz")]) == 0
    found = np.load(tmp_path / "f.npz")["features"]
    assert found.shape == (24, 192) and np.isfinite(found).all()
    assert main(["probe", run, "--data", str(recordings), "--baselines"]) == 0
    assert main(["export", run, "--layout", "audiomae", "--out", str(tmp_path / "a.pth")]) == 0
    out = capsys.readouterr().out
    assert "3 samples, loss" in out and "raw contents" in out and "1 left out" in out


def test_the_command_line_knows_audio(recordings, tmp_path, capsys):
    words = ["pretrain", "audio", "--data", str(recordings), "--out", str(tmp_path / "run"), "--steps", "1"]
    assert main([*words, "--batch", "2", "--workers", "0", "--measure"]) == 0
    assert (tmp_path / "run" / "pictures" / "step-00000001.png").exists()
    assert main(["pretrain", "audio", "--data", "no/such/place", "--out", str(tmp_path / "other")]) == 2
    assert "no/such/place: no such file or folder" in capsys.readouterr().err
