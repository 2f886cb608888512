"""Spectrogram pictures show what they say, and sound can be written."""

import wave

import numpy as np
import pytest
import torch

from maskkit import Mask
from maskkit.modalities import audio
from maskkit.modalities.audio.drawing import spectrograms


def drawn(batch, mask, **settings):
    torch.manual_seed(0)
    model = audio.audiomae("tiny", frames=96, mels=64, **settings).eval()
    with torch.no_grad():
        output = model(batch, mask=mask)
    return spectrograms(batch, output, model), model, output


def test_input_visible_and_reconstruction_share_axes_and_stand_where_they_belong():
    batch = audio.sample(2)
    mask = Mask.hide(torch.arange(12).expand(2, -1), 24)  # the first half of the time
    figure, model, output = drawn(batch, mask)
    axes = [each for each in figure.axes if each.images and each.get_title() is not None and each.get_xlim()[1] > 0.5]
    cells = np.array([each for each in axes if each.images[0].get_array().shape == (64, 96)]).reshape(2, 3)
    assert [each.get_title() for each in cells[0]] == ["input", "visible 50%", "reconstruction"]
    decibels = 10 / np.log(10) * (batch * model.tokenizer.std[0] + model.tokenizer.mean[0])[:, 0].mT.numpy()
    for row, (shown, seen, filled) in enumerate(cells):
        arrays = [np.ma.filled(each.images[0].get_array(), np.nan) for each in (shown, seen, filled)]
        assert np.allclose(arrays[0], decibels[row], atol=1e-3)
        assert np.isnan(arrays[1][:, :48]).all() and np.allclose(arrays[1][:, 48:], decibels[row][:, 48:], atol=1e-3)
        assert np.allclose(arrays[2][:, 48:], decibels[row][:, 48:], atol=1e-3)
        assert np.abs(arrays[2][:, :48] - decibels[row][:, :48]).max() > 1
        for cell in (shown, seen, filled):
            assert (
                cell.get_xlim() == (0, pytest.approx(0.96)) and cell.images[0].get_clim() == shown.images[0].get_clim()
            )
    assert cells[1][0].get_xlabel() == "seconds" and cells[0][0].get_ylabel() == "hertz"
    marks = dict(zip([t.get_text() for t in cells[0][0].get_yticklabels()], cells[0][0].get_yticks(), strict=True))
    mel = lambda hertz: 1127 * np.log(1 + hertz / 700)  # noqa: E731
    expected = (mel(1000) - mel(20)) / (mel(8000) - mel(20)) * 65 - 1
    assert marks["1,000"] == pytest.approx(expected, abs=0.1)
    assert "true mean and contrast" in figure.get_supxlabel()


def test_a_file_is_written_and_plain_targets_have_no_excuse(tmp_path):
    batch, mask = audio.sample(1), Mask.hide(torch.arange(12)[None], 24)
    figure, model, output = drawn(batch, mask, norm_target=False)
    assert figure.get_supxlabel() == "visible patches are the input's own"
    audio.draw(batch, output, model, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").stat().st_size > 5000


def test_what_a_short_clip_does_not_have_stays_white():
    batch = audio.sample(2)
    batch[1, :, 50:] = torch.nan
    mask = Mask(visible=torch.tensor([[0, 5], [1, 6]]), hidden=torch.tensor([[2, 8], [3, 9]]))
    figure, _, _ = drawn(batch, mask)
    arrays = [a.images[0].get_array() for a in figure.axes if a.images and a.images[0].get_array().shape == (64, 96)]
    assert len(arrays) == 6
    for array in arrays[3:]:
        assert np.isnan(np.ma.filled(array, np.nan)[:, 50:]).all()
    shown = [int(np.isfinite(np.ma.filled(array, np.nan)).sum()) for array in arrays[:3]]
    assert shown == [64 * 96, 2 * 256, 4 * 256]  # tokens in neither set are white, too
    assert "neither visible nor predicted" in figure.get_supxlabel()


def test_sound_is_written_at_16_kilohertz(tmp_path):
    batch = audio.sample(1)
    batch[0, :, 60:] = torch.nan  # is not there, and so is not heard
    with wave.open(str(audio.write_sound(batch[0], audio.tiny(), tmp_path / "a.wav"))) as file:
        assert file.getframerate() == 16_000 and file.getnchannels() == 1
        assert file.getnframes() / 16_000 == pytest.approx(0.6, abs=0.03)
        sound = np.frombuffer(file.readframes(10**6), "<i2")
    assert 0.8 * 32767 < np.abs(sound).max() <= 32767
