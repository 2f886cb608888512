"""Picture grids show what they say, pixel by pixel."""

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit import Mask
from maskkit.modalities import image
from maskkit.modalities.image.drawing import GAP, MARGIN

HEAD = 24


def cells(path, size, rows):
    """Cut a sheet into its pictures: [rows][3] arrays."""
    sheet = np.asarray(Image.open(path))
    out = []
    for row in range(rows):
        top = MARGIN + HEAD + row * (size + GAP)
        out.append([sheet[top : top + size, MARGIN + c * (size + GAP) :][:, :size] for c in range(3)])
    return out


@pytest.mark.parametrize("as_float", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_input_visible_and_reconstruction_stand_where_they_belong(tmp_path, channels, as_float):
    torch.manual_seed(0)
    model = image.mae("tiny", image_size=128, patch_size=64, channels=channels, mask_ratio=0.5).eval()
    pixels = torch.randint(0, 256, (2, channels, 128, 128), dtype=torch.uint8)
    batch = pixels
    if as_float:
        mean, std = (
            torch.tensor(s).expand(channels).view(1, -1, 1, 1) for s in (model.tokenizer.mean, model.tokenizer.std)
        )
        batch = (pixels / 255 - mean) / std
    mask = Mask.hide(torch.tensor([[0, 3], [1, 2]]), num_tokens=4)
    with torch.no_grad():
        output = model(batch, mask=mask)
    image.draw(batch, output, model, tmp_path / "sheet.png")
    expected = pixels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy()
    for row, (shown, seen, filled) in enumerate(cells(tmp_path / "sheet.png", 128, 2)):
        assert np.abs(shown.astype(int) - expected[row]).max() <= 1
        for token in range(4):
            y, x = 64 * (token // 2), 64 * (token % 2)
            place = (slice(y, y + 64), slice(x, x + 64))
            if token in mask.hidden[row]:
                assert np.abs(seen[place].astype(int) - 128).max() <= 1
                assert np.abs(filled[place].astype(int) - shown[place]).max() > 5
            else:
                assert np.array_equal(seen[place], shown[place]) and np.array_equal(filled[place], shown[place])


def test_small_pictures_are_enlarged_and_many_channels_shown(tmp_path):
    model = image.mae("tiny", image_size=8, patch_size=2, channels=7, norm_target=False).eval()
    batch = torch.randn(3, 7, 8, 8) * 50  # far outside [0, 1], as measured data may be
    with torch.no_grad():
        image.draw(batch, model(batch), model, tmp_path / "sheet.png")
    shown = cells(tmp_path / "sheet.png", 128, 3)[0][0]
    assert shown[::16, ::16].std() > 20 and not (shown == 255).all()
