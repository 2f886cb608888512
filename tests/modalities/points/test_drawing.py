"""The sheet shows each column's points, and the page carries them whole and works offline."""

import base64
import json
import re

import numpy as np
import torch
from PIL import Image

from maskkit.modalities import points
from maskkit.modalities.points.drawing import look


def test_sheet_and_page(tmp_path):
    torch.manual_seed(0)
    model, batch = points.tiny().eval(), points.sample(2)
    with torch.no_grad():
        output = model(batch)
    points.draw(batch, output, model, tmp_path / "a.png")
    sheet = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    third = sheet.shape[1] // 3
    orange = (sheet[..., 0] - sheet[..., 2] > 100) & (sheet[..., 1] < 200)
    counts = [int(orange[60:-60, third * i : third * (i + 1)].sum()) for i in range(3)]
    assert counts[2] > 100 and counts[1] == 0  # predictions are in the third column only
    assert all((sheet[40:-40, third * i : third * (i + 1)] < 200).any() for i in range(3))

    text = (tmp_path / "a.html").read_text()
    assert not re.search(r"(src|href)=|https?://", text)
    data = json.loads(re.search(r"const data = (.*);\n", text)[1])
    views = look(batch, output, model)
    assert len(data["samples"]) == 2
    for sample, view in zip(data["samples"], views, strict=True):
        sizes = [len(base64.b64decode(part)) // 6 for part in sample]
        assert sizes == [256, 7 * 16, 9 * 16] == [len(view.cloud), len(view.visible), len(view.predicted)]
    between = torch.cdist(torch.from_numpy(views[0].visible).double(), batch[0].double()).amin(dim=1)
    assert between.max() < 1e-5


def test_padding_is_not_drawn(tmp_path):
    torch.manual_seed(0)
    model, batch = points.tiny().eval(), points.sample(2)
    batch[1, 10:] = torch.nan  # ten points are ten groups, of which six are hidden: in both clouds
    with torch.no_grad():
        output = model(batch)
    whole, short = look(batch, output, model)
    assert (len(whole.cloud), len(short.cloud)) == (256, 10)
    assert all(np.isfinite(part).all() for part in (short.cloud, short.visible, short.predicted))
    assert len(short.visible) == 4 * 16 and len(short.predicted) == 6 * 16
    points.draw(batch, output, model, tmp_path / "a.png")
    assert "visible 40% of the groups" in (tmp_path / "a.html").read_text()
