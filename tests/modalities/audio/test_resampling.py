"""One resampler on every machine, whose numbers are torchaudio's."""

import pytest
import torch

from maskkit.modalities.audio.resampling import resample

RATES = [6000, 8000, 11_025, 16_025, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000, 192_000]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("samples", [1, 400, 9973])
def test_the_numbers_are_torchaudios(rate, samples):
    transforms = pytest.importorskip("torchaudio.transforms")
    wave = torch.rand(samples, generator=torch.Generator().manual_seed(rate)) - 0.5
    expected = transforms.Resample(rate, 16_000)(wave)
    found = resample(wave, rate)
    assert found.shape == expected.shape and found.dtype == torch.float32
    assert (found - expected).abs().max() < 5e-5  # below one step of 15 bits


@pytest.mark.parametrize("rate", RATES)
def test_the_length_is_that_of_the_recording(rate):
    for samples in (1, 2, rate // 7, rate):
        assert len(resample(torch.zeros(samples), rate)) == -(-samples * 16_000 // rate)


def test_16_kilohertz_stay_as_they_are():
    wave = torch.randn(1000)
    assert resample(wave, 16_000) is wave


def test_a_constant_stays_the_same_away_from_the_ends():
    for rate in RATES[:6]:
        found = resample(torch.full((rate,), 0.25), rate)
        assert torch.allclose(found[800:-800], torch.tensor(0.25), atol=2e-3)
