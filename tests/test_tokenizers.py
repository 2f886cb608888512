"""Patches in one, two and three axes: cut, paint, refuse."""

import pytest
import torch

from maskkit.testing import check_tokenizer
from maskkit.tokenizers import Patches
from maskkit.types import take

SHAPES = [((4,), (20,)), ((4, 3), (8, 15)), ((2, 4, 4), (6, 8, 12))]


@pytest.mark.parametrize("channels", [1, 3, 13])
@pytest.mark.parametrize(("patch", "size"), SHAPES)
def test_any_number_of_axes_and_channels(patch, size, channels):
    tokens = check_tokenizer(Patches(size=patch, channels=channels), torch.randn(2, channels, *size))
    assert tokens.grid == tuple(s // p for s, p in zip(size, patch, strict=True))


@pytest.mark.parametrize(("patch", "size"), SHAPES)
def test_uint8_pixels_come_back_exactly(patch, size):
    tokenizer = Patches(size=patch, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    check_tokenizer(tokenizer, torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8))


def test_uint8_is_normalised_per_channel():
    mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
    batch = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    by_hand = (batch / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    tokenizer = Patches(size=(4, 4), mean=mean, std=std)
    assert torch.allclose(tokenizer(batch).x, tokenizer(by_hand).x, atol=1e-6)


def test_contents_are_rows_columns_channels_and_tokens_row_major():
    """MAE's order (models_mae.py, patchify), written out."""
    batch = torch.randn(1, 3, 8, 12)
    tokens = Patches(size=(4, 4))(batch)
    row, column = 1, 2
    patch = batch[0, :, row * 4 : row * 4 + 4, column * 4 : column * 4 + 4]
    assert torch.equal(tokens.x[0, row * 3 + column], patch.permute(1, 2, 0).flatten())
    assert tokens.pos[0, row * 3 + column].tolist() == [row, column]


def test_painting_puts_each_token_where_it_was():
    batch = torch.zeros(1, 1, 4, 6)
    tokenizer = Patches(size=(2, 2), channels=1)
    tokens = tokenizer(batch)
    index = torch.tensor([[4]])
    painted = tokenizer.paint(tokens, index, take(tokens.x, index) + 1)
    assert painted[0, 0, 2:4, 2:4].eq(1).all() and painted.sum() == 4


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (1, 3, 225, 225),
            "input 225x225 is not divisible by patch 16x16: height is 225; crop it to 224 or .* patch 15",
        ),
        ((1, 3, 224, 230), "width is 230; crop it to 224"),
        ((1, 3, 8, 16), "height is 8; enlarge it to 16"),
        ((1, 4, 224, 224), "batch must have 3 channels as its second axis, got"),
        ((1, 3, 4, 224, 224), "batch must be"),
    ],
)
def test_inputs_that_do_not_fit_say_how_to_mend(shape, message):
    with pytest.raises(ValueError, match=message):
        Patches(size=(16, 16), names=("height", "width"))(torch.zeros(shape))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": ()}, "patch size must be positive"),
        ({"size": (0, 4)}, "patch size must be positive"),
        ({"size": (4,), "channels": 0}, "channels must be at least 1"),
        ({"size": (4,), "mean": (0.0, 0.0)}, "mean must hold 1 or 3 numbers"),
        ({"size": (4,), "std": (0.0,)}, "std must be positive"),
        ({"size": (4,), "input_size": (10,)}, "not divisible by patch"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(ValueError, match=message):
        Patches(**settings)


def test_integers_other_than_uint8_are_refused():
    with pytest.raises(ValueError, match="batch must be float or uint8, got torch.int64"):
        Patches(size=(2,), channels=1)(torch.zeros(1, 1, 4, dtype=torch.int64))


def test_samples_of_different_sizes_are_padded_and_the_padding_is_told():
    tokenizer = Patches(size=(4, 2), channels=1, fill=0.5)
    clips = [torch.randn(1, 11, 4), torch.randn(1, 8, 4), torch.randn(1, 3, 2)]
    tokens = tokenizer(clips)
    assert tokens.grid == (3, 2)
    assert tokens.valid.int().tolist() == [[1] * 6, [1, 1, 1, 1, 0, 0], [1, 0, 0, 0, 0, 0]]
    last = tokens.x[0, 4].view(4, 2)  # rows 8 to 11 of the first clip, which ends at 11
    assert torch.equal(last[:3], clips[0][0, 8:, :2]) and last[3].eq(0.5).all()
    everything = torch.arange(6).expand(3, -1)
    again = tokenizer.to_input(tokenizer.paint(tokens, everything, tokens.x), clips)
    assert all(torch.equal(one, other) for one, other in zip(again, clips, strict=True))
    padded = tokenizer.pad_to_batch(clips)
    assert torch.equal(tokenizer(padded).x, tokens.x) and torch.equal(tokenizer(padded).valid, tokens.valid)
    assert tokenizer.to_input(tokenizer.paint(tokens, everything, tokens.x), padded).isnan().equal(padded.isnan())


def test_a_batch_without_padding_is_the_same_as_before():
    batch = torch.randn(2, 1, 8, 4)
    plain, filled = Patches(size=(4, 2), channels=1), Patches(size=(4, 2), channels=1, fill=0.0)
    assert filled(batch).valid is None and torch.equal(filled(batch).x, plain(batch).x)
    assert filled(list(batch)).valid is None and torch.equal(filled(list(batch)).x, plain(batch).x)
    batch[0, 0, 0, 0] = torch.nan
    assert plain(batch).x.isnan().sum() == 1  # without a fill NaN is what it is
    assert filled(batch).valid is None and filled(batch).x[0, 0, 0] == 0


def test_lists_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="samples of different sizes in a list need its fill"):
        Patches(size=(4, 2), channels=1)([torch.zeros(1, 8, 4)])
    with pytest.raises(ValueError, match=r"a list must hold float samples \[C \+ 2 axes\], got \[8, 4\]"):
        Patches(size=(4, 2), channels=1, fill=0.0)([torch.zeros(8, 4)])
