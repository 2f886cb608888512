"""Grids lay cells out where they say, captions say what a reader has to know, curves show the loss."""

import json

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from maskkit.drawing.caption import caption, column_titles, visible_share
from maskkit.drawing.curve import draw_loss
from maskkit.drawing.grid import BETWEEN, GAP, HEAD, MARGIN, SIDE, fit_cell, fitted, grid, wrapped
from maskkit.modalities import image, video


def flat(value, height=10, width=20):
    return torch.full((3, height, width), value)


def test_cells_stand_where_the_constants_say():
    rows = [[flat(0.1 * (2 * row + column)) for column in range(2)] for row in range(4)]
    made = np.asarray(grid(rows, cell=(30, 60), titles=("a", "b"), sides=("up", "down"), block=2, note="a note"))
    for row in range(4):
        for column in range(2):
            top = MARGIN + HEAD + row * (30 + GAP) + row // 2 * BETWEEN
            left = MARGIN + SIDE + column * (60 + GAP)
            cell = made[top : top + 30, left : left + 60]
            assert (cell == round(25.5 * (2 * row + column))).all()
            assert (made[top : top + 30, left - GAP : left] == 255).all()
    assert made[MARGIN : MARGIN + HEAD].min() < 100  # titles
    assert made[MARGIN + HEAD : -60, MARGIN : MARGIN + SIDE - GAP].min() < 100  # titles at the side
    assert made[-40:].min() < 200 and (made[-3:] == 255).all()  # the caption fits


def test_without_margin_the_grid_is_its_cells():
    made = grid([[flat(0.0), flat(0.0)]], cell=(10, 20), margin=0)
    assert made.size == (2 * 20 + GAP, 10)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((8, 8), (128, 128)), ((32, 64), (128, 256)), ((200, 100), (400, 200)), ((320, 640), (160, 320))],
)
def test_cells_are_enlarged_by_whole_numbers_and_shrunk_to_a_limit(size, expected):
    assert fit_cell(*size, smallest=128, largest=160 if size[0] > 200 else None) == expected


def test_text_is_shortened_and_wrapped_to_a_width():
    font = ImageFont.load_default(size=14)
    text = "visible patches are the input's own"
    assert fitted(text, 1000, font) == text and fitted(text, 0, font) == ""
    width = int(font.getlength("visible patches")) + 1
    assert fitted(text, width, font) == "visible patches"
    lines = wrapped(text, width, font)
    assert " ".join(lines) == text and all(font.getlength(line) <= width for line in lines) and len(lines) > 1


def test_captions_name_what_the_model_does_not_predict():
    plain = image.mae("tiny", image_size=8, patch_size=2, channels=1, norm_target=False)
    assert caption(plain, "patches") == "visible patches are the input's own"
    assert caption(image.tiny(), "patches", "a note").split("; ")[1:] == [
        "a note",
        "predicted patches get back their true mean and contrast, which the model does not predict",
    ]
    sliced = caption(video.mae_st("tiny", frames=4, image_size=32), "tokens")
    assert "1 of 2 frames in a token are predicted" in sliced and "true mean" in sliced


def test_titles_say_how_much_is_visible():
    model, batch = image.tiny(), image.sample(2)
    output = model(batch, rng=torch.Generator().manual_seed(0))
    assert visible_share(output) == 0.25
    assert column_titles(output) == ("input", "visible 25%", "reconstruction")


def test_a_curve_shows_the_loss_and_an_empty_log_is_said(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in range(1, 20)))
    with Image.open(draw_loss(log, tmp_path / "loss.png")) as made:
        assert min(made.size) > 300 and len(made.convert("RGB").getcolors(2**20)) > 10
    log.write_text('\n{"step": 1, "loss": null}\n')
    with pytest.raises(ValueError, match="has no step with a loss"):
        draw_loss(log, tmp_path / "loss.png")


def test_the_old_path_of_the_curve_works():
    from maskkit.evaluate.curve import draw_loss as old

    assert old is draw_loss
