"""Filter banks are Kaldi's with the authors' settings, one by one or in a batch."""

import math
import sys

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from maskkit.modalities import audio
from maskkit.modalities.audio import filterbanks
from maskkit.modalities.audio.filterbanks import band_hertz, mel_bands, num_samples

torchaudio = pytest.importorskip("torchaudio")
kaldi = pytest.importorskip("torchaudio.compliance.kaldi")

RATE = 16_000
TIME = torch.arange(10 * RATE) / RATE
WAVES = {
    "noise": torch.randn(10 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1,
    "tone": (2 * math.pi * 440 * TIME).sin() * 0.5 + 0.2,  # with an offset, which is taken out frame by frame
    "faint": torch.randn(10 * RATE, generator=torch.Generator().manual_seed(1)) * 1e-4,
    "nothing": torch.zeros(10 * RATE),
}


def authors(wave, mels=128):
    """dataset.py of AudioMAE, line 210."""
    return kaldi.fbank(
        wave[None],
        htk_compat=True,
        sample_frequency=RATE,
        use_energy=False,
        window_type="hanning",
        num_mel_bins=mels,
        dither=0.0,
        frame_shift=10,
    )


@pytest.mark.parametrize("name", WAVES)
def test_one_by_one_and_in_a_batch_the_numbers_are_the_authors(name):
    wave = WAVES[name]
    expected = authors(wave)
    assert expected.shape == (998, 128)
    assert torch.allclose(audio.fbank(wave), expected, atol=5e-4)
    batch = audio.fbanks(torch.stack([wave, WAVES["noise"]]))
    assert torch.allclose(batch[0], expected, atol=1e-3)
    assert torch.allclose(batch[1], authors(WAVES["noise"]), atol=1e-3)


@pytest.mark.parametrize("mels", [23, 64, 128])
def test_bands_are_kaldis(mels):
    expected, centres = kaldi.get_mel_banks(mels, 512, RATE, 20.0, 0.0, 100.0, -500.0, 1.0)
    found = mel_bands(mels, torch.device("cpu"))
    assert torch.allclose(found[:, :-1], expected, atol=1e-3) and not found[:, -1].any()
    assert torch.allclose(torch.tensor(band_hertz(mels)), centres.flatten(), rtol=1e-3)


def test_frames_lie_wholly_within_the_recording():
    assert num_samples(1024) == 164_080
    for samples in (400, 559, 560, 16_000):
        frames = len(authors(torch.randn(samples)))
        assert audio.fbanks(torch.randn(1, samples)).shape[1] == frames
        assert num_samples(frames) <= samples < num_samples(frames + 1)
    for compute in (lambda w: audio.fbank(w), lambda w: audio.fbanks(w[None])):
        with pytest.raises(ValueError, match="at least 400 samples"):
            compute(torch.randn(399))


def test_sound_comes_back_with_about_the_same_energies():
    """Griffin and Lim guess the phases, so only the energies can agree, and those roughly."""
    wave = 0.3 * sum((2 * math.pi * pitch * TIME[:RATE]).sin() for pitch in (440, 1500)) + 1e-3 * torch.randn(RATE)
    energies = audio.fbank(wave)
    again = audio.fbank(audio.waveform(energies))
    length = min(len(energies), len(again)) - 10
    ours, theirs = energies[5:length].mean(0), again[5:length].mean(0)
    assert torch.corrcoef(torch.stack([ours, theirs]))[0, 1] > 0.9
    assert abs(ours.argmax() - theirs.argmax()) <= 1


def test_griffin_lim_is_torchaudios(monkeypatch):
    """What is computed without torchaudio is what torchaudio computes."""
    magnitudes = torch.rand(257, 60, generator=torch.Generator().manual_seed(0))
    theirs = filterbanks.griffin_lim(magnitudes, 20)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torchaudio.functional", None)
    ours = filterbanks.griffin_lim(magnitudes, 20)
    assert theirs.abs().max() > 0.05 and torch.allclose(ours, theirs, atol=1e-5)


def test_deemphasis_undoes_the_emphasis_of_loud_sound():
    sound = WAVES["noise"] * 30  # far beyond full scale, at which a filter that clips would fail
    emphasised = torch.cat([sound[:1], sound[1:] - 0.97 * sound[:-1]])
    assert torch.allclose(filterbanks.deemphasise(emphasised), sound, atol=1e-4)


def test_bands_are_no_tensors_of_a_trace():
    """Bands that were first asked for under a fake mode or in inference mode serve training afterwards."""
    filterbanks._bands.cache_clear()
    with FakeTensorMode(), torch.inference_mode():
        mel_bands(37, torch.device("cpu"))
    wave = torch.randn(1, 4000, requires_grad=True)
    audio.fbanks(wave, 37).sum().backward()
    assert wave.grad is not None and type(mel_bands(37, torch.device("cpu"))) is torch.Tensor
