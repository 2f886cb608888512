"""Contact sheets and animations show what they say."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence

from maskkit.drawing.pixels import grey, shown
from maskkit.modalities import video
from maskkit.modalities.video.drawing import GAP, MARGIN, SIDE, sheet


@pytest.mark.parametrize("channels", [1, 3])
def test_a_sheet_has_three_rows_a_sample_and_an_animation_beside(tmp_path, channels):
    model = video.videomae("tiny", frames=4, image_size=(32, 64), channels=channels, mask_ratio=0.5)
    batch = torch.full((2, channels, 4, 32, 64), 200, dtype=torch.uint8)
    batch[:, :, 2] = 40
    batch[:, :, 1] = 190  # Pillow joins frames that are equal
    with torch.no_grad():
        out = model(batch)
    video.draw(batch, out, model, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as opened:
        sheet = np.array(opened)
    cell = 96, 192  # 32 x 64, three times
    assert sheet.shape[1] == 2 * MARGIN + SIDE + 4 * (cell[1] + GAP)

    def part(sample: int, row: int, frame: int) -> np.ndarray:
        top = MARGIN + sample * (3 * (cell[0] + GAP) + 10) + row * (cell[0] + GAP)
        left = MARGIN + SIDE + frame * (cell[1] + GAP)
        return sheet[top : top + cell[0], left : left + cell[1]]

    assert (part(0, 0, 0) == 200).all() and (part(1, 0, 2) == 40).all()
    visible = part(0, 1, 0)
    assert (visible == 128).mean() == 0.5 and (visible == 200).mean() == 0.5  # half of the tubes
    rebuilt = part(0, 2, 0)
    assert (rebuilt[visible == 200] == 200).all()
    with Image.open(tmp_path / "sheet.gif") as opened:
        assert len(list(ImageSequence.Iterator(opened))) == 4
        assert opened.size == (3 * (192 + GAP) - GAP, SIDE + 2 * (96 + GAP) - GAP)
        assert np.array(opened.convert("L"))[:SIDE].min() < 100  # titles


@pytest.mark.parametrize(("frames", "numbers"), [(4, [0, 1, 2, 3]), (10, [0, 2, 4, 6, 8]), (16, list(range(0, 16, 2)))])
def test_time_passes_evenly_on_a_sheet(frames, numbers):
    clip = (torch.arange(frames) / frames).view(1, 1, frames, 1, 1).expand(1, 3, frames, 96, 96)
    picture = np.array(sheet([clip, clip, clip], "note"))[MARGIN, MARGIN + SIDE :: 96 + GAP, 0]
    assert picture[: len(numbers)].tolist() == [round(255 * number / frames) for number in numbers]
    assert len(picture) == len(numbers) + 1 and picture[-1] == 255  # the margin


def test_only_an_animation_where_it_is_asked_for(tmp_path):
    model = video.mae_st("tiny", frames=4, image_size=32, mask_ratio=0.75)
    batch = torch.randint(0, 256, (1, 3, 4, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        video.draw(batch, model(batch), model, tmp_path / "out.gif")
    assert [path.name for path in tmp_path.iterdir()] == ["out.gif"]


def test_normalised_floats_show_as_their_pixels():
    model = video.videomae("tiny", frames=4, image_size=32, mask_ratio=0.75)
    pixels = torch.rand(2, 3, 4, 32, 32)
    mean, std = (torch.tensor(s).view(1, 3, 1, 1, 1) for s in (model.tokenizer.mean, model.tokenizer.std))
    batch = (pixels - mean) / std
    assert (shown(batch, model, like=batch) - pixels).abs().max() < 1e-5
    with torch.no_grad():
        out = model(batch)
    masked = model.paint(out, batch, contents=grey(batch, out, model))
    assert ((shown(masked, model, like=batch) - 0.5).abs() < 1e-5).float().mean() > 0.5
