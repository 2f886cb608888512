"""Crops are the authors', every frame of a clip alike."""

import pytest
import torch
from PIL import Image

from maskkit.modalities.video.transforms import CentreCrop, MultiScaleCrop, ResizedCrop


def clip(rows: int, columns: int, frames: int = 3) -> torch.Tensor:
    """Smooth frames, all the same but for one number."""
    row, column = torch.arange(rows)[:, None], torch.arange(columns)[None]
    picture = torch.stack([row + column * 0, column + row * 0, (row + column) // 2]) % 256
    return torch.stack([(picture + 10 * t) % 256 for t in range(frames)]).to(torch.uint8)


def test_lengths_and_places_are_those_of_group_multi_scale_crop():
    """transforms.py of MCG-NJU/VideoMAE, by hand: a frame of 340 x 256 (columns x rows), to 224."""
    crop = MultiScaleCrop(size=(224, 224))
    sides = [256, 224, 192, 168]  # int(256 x scale); 224 is the target itself
    wanted = {(h, w) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1}
    assert set(crop.lengths(256, 340)) == wanted and len(crop.lengths(256, 340)) == 10
    assert crop.lengths(225, 300)[0] == (224, 224)  # within 3 pixels of the target
    down, right = 256 - 192, 340 - 224  # steps of 16 and 29
    corners = {(0, 0), (0, 116), (64, 0), (64, 116), (32, 58)}
    edges = {(32, 0), (32, 116), (64, 58), (0, 58)}
    quarters = {(16, 29), (16, 87), (48, 29), (48, 87)}
    assert set(crop.places(down, right)) == corners | edges | quarters and len(crop.places(down, right)) == 13
    assert crop.short_side == 340 and crop.scales == (1, 0.875, 0.75, 0.66)


@pytest.mark.parametrize(("side", "target"), [(221, 224), (222, 224), (223, 224), (224, 224), (111, 112), (113, 112)])
@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_never_reaches_beyond_a_frame(side, target, turned):
    """Also where the shorter side is a little less than the target: a negative corner would cut out a strip."""
    rows, columns = (300, side) if turned else (side, 300)
    crop = MultiScaleCrop(size=(target, target))
    assert all(0 < height <= rows and 0 < width <= columns for height, width in crop.lengths(rows, columns))
    frames = clip(rows, columns)
    for seed in range(30):
        out = crop(frames, torch.Generator().manual_seed(seed)).int()
        assert out.shape == (3, 3, target, target)
        for line in (out[0, 0, :, 0], out[0, 1, 0]):  # the first channel grows downwards, the second to the right
            assert line.unique().numel() > 0.6 * side


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
@pytest.mark.parametrize("crop", [MultiScaleCrop(size=(32, 32)), ResizedCrop(size=(32, 32)), CentreCrop(size=(32, 32))])
def test_the_smallest_frames_can_be_cropped(crop, shape):
    for seed in range(20):
        assert crop(clip(*shape), torch.Generator().manual_seed(seed)).shape == (3, 3, 32, 32)


def test_a_multi_scale_crop_is_pillows_to_one_level():
    crop, frames = MultiScaleCrop(size=(96, 112)), clip(150, 200)
    found = set()
    for seed in range(30):
        out = crop(frames, torch.Generator().manual_seed(seed))
        rng = torch.Generator().manual_seed(seed)
        lengths = crop.lengths(150, 200)
        height, width = lengths[int(torch.randint(len(lengths), (), generator=rng))]
        places = crop.places(150 - height, 200 - width)
        top, left = places[int(torch.randint(13, (), generator=rng))]
        found.add((height, width, top, left))
        for frame, result in zip(frames, out, strict=True):
            picture = Image.fromarray(frame.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
            wanted = torch.from_numpy(__import__("numpy").array(picture.resize((112, 96), Image.Resampling.BILINEAR)))
            assert (result.permute(1, 2, 0).int() - wanted.int()).abs().max() <= 1
    assert len(found) > 15


@pytest.mark.parametrize("crop", [MultiScaleCrop(size=(32, 48)), ResizedCrop(size=(32, 48)), CentreCrop(size=(32, 48))])
def test_what_a_crop_does_depends_on_its_generator_alone(crop):
    frames, state = clip(70, 90), torch.get_rng_state()
    outs = [crop(frames, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2, 3, 4)]
    assert outs[0].shape == (3, 3, 32, 48) and outs[0].dtype == torch.uint8
    assert torch.equal(outs[0], outs[1]) and torch.equal(state, torch.get_rng_state())
    assert isinstance(crop, CentreCrop) or any(not torch.equal(outs[0], out) for out in outs[2:])
    still = crop(frames[:1].expand(3, -1, -1, -1), torch.Generator().manual_seed(5))
    assert torch.equal(still[0], still[1]) and torch.equal(still[0], still[2])


def test_a_resized_crop_mirrors_half_of_the_clips():
    frames = clip(40, 60)  # its second channel grows from left to right
    crop = ResizedCrop(size=(24, 24))
    mirrored = [
        bool((out := crop(frames, torch.Generator().manual_seed(seed)))[0, 1, 12, 20] < out[0, 1, 12, 4])
        for seed in range(200)
    ]
    assert 70 < sum(mirrored) < 130
    straight = ResizedCrop(size=(24, 24), flip=False)
    outs = [straight(frames, torch.Generator().manual_seed(seed)) for seed in range(30)]
    assert all(out[0, 1, 12, 20] > out[0, 1, 12, 4] for out in outs)


@pytest.mark.parametrize(("rows", "columns"), [(40, 60), (60, 40), (24, 24), (20, 90), (10, 10)])
def test_the_centre_is_the_middle(rows, columns):
    out = CentreCrop(size=(24, 24))(clip(rows, columns), torch.Generator())
    assert out.shape == (3, 3, 24, 24)
    middle = clip(rows, columns)[0, :2, rows // 2, columns // 2].float()
    assert (out[0, :2, 12, 12].float() - middle).abs().max() <= 3


@pytest.mark.parametrize("make", [MultiScaleCrop, ResizedCrop, CentreCrop])
def test_bad_settings_are_refused(make):
    with pytest.raises(ValueError, match="size must be"):
        make(size=(0, 4))
    with pytest.raises(ValueError, match="scale"):
        ResizedCrop(size=(4, 4), scale=(0.0, 1.0))
    with pytest.raises(ValueError, match="scales"):
        MultiScaleCrop(size=(4, 4), scales=(2.0,))
