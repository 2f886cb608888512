"""From a waveform to the model's input, as the authors do it where they are followed."""

import pytest
import torch

from maskkit.modalities import audio
from maskkit.modalities.audio.transforms import draw_gain
from maskkit.seeds import generator

MEAN, STD = -4.2677393, 4.5689974


def wave(seconds, seed=0):
    return torch.randn(int(seconds * 16_000), generator=torch.Generator().manual_seed(seed)) * 0.1 + 0.3


def clip(**changes):
    return audio.Clip(**{"frames": 1024, "mels": 128, "mean": MEAN, "scale": 2 * STD} | changes)


def test_ten_seconds_give_1024_frames_as_the_authors_do():
    """Mean out, 998 frames, raw zeros to 1024, and only then normalised by twice the deviation (A6)."""
    sound = wave(10)
    expected = audio.fbank(sound - sound.mean())
    expected = torch.nn.functional.pad(expected, (0, 0, 0, 26))
    expected = (expected + 4.2677393) / (4.5689974 * 2)
    found = clip()(sound, generator(0))
    assert found.shape == (1, 1024, 128) and torch.equal(found[0], expected)
    assert found[0, -1].unique().item() == pytest.approx(0.46703, abs=1e-4)


def test_longer_recordings_are_cut_to_their_start():
    sound = wave(12)
    first = sound[:164_080]
    assert torch.allclose(
        clip()(sound, generator(0))[0], (audio.fbank(first - sound.mean()) - MEAN) / (2 * STD), atol=1e-6
    )


def test_what_is_not_there_can_be_left_out():
    found = clip(frames=64, padding="ignored")(wave(0.3), generator(0))
    assert found[0, 28:].isnan().all() and found[0, :28].isfinite().all()
    tokens = audio.patches(16, frames=64, mels=128)(found[None])
    assert tokens.valid.view(4, 8)[:, 0].tolist() == [True, True, False, False]
    assert tokens.x.isfinite().all() and tokens.x[0, 8].view(16, 16)[12:].unique().item() == pytest.approx(
        0.46703, abs=1e-4
    )


def test_gain_and_roll_come_from_the_generator_alone():
    sound = wave(1)
    make = clip(frames=96, gain=True, roll=True)
    assert torch.equal(make(sound, generator(1)), make(sound, generator(1)))
    assert not torch.equal(make(sound, generator(1)), make(sound, generator(2)))
    gains = torch.tensor([draw_gain(generator(seed)) for seed in range(2000)])
    assert gains.min() > 0.5 and gains.max() < 1.5
    assert gains.mean() == pytest.approx(1, abs=0.01) and gains.std() == pytest.approx(
        (1 / 84) ** 0.5, abs=0.01
    )  # Beta's


def test_gain_shifts_the_energies_of_all_bands_alike():
    plain, loud = clip(frames=96)(wave(1), generator(3)), clip(frames=96, gain=True)(wave(1), generator(3))
    shift = (loud - plain) * 2 * STD
    shift = shift[plain > plain.min()]  # a band without a bin of the spectrum stays at the floor
    assert shift.std() < 1e-3 and abs(shift.mean()) > 0.01


def test_a_batch_on_the_device_is_the_same_as_one_by_one():
    waves = torch.stack([wave(1, seed) for seed in range(3)])
    for padding in ("silence", "ignored"):
        make = clip(frames=128, padding=padding)
        one_by_one = torch.stack([make(each, generator(0)) for each in waves])
        assert torch.allclose(make.batch(waves), one_by_one, atol=1e-4, equal_nan=True)


def test_a_random_excerpt_draws_its_place():
    places = [clip(excerpt="random").place(generator(seed)) for seed in range(50)]
    assert len(set(places)) == 50 and 0 <= min(places) < 0.2 and 0.8 < max(places) < 1
    assert clip().place(generator(0)) == 0
