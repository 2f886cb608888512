import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as v2f

from maskkit.modalities.image.transforms import EvalCrop, TrainCrop, eval_transform, train_transform


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=rng(seed))


def coordinates(height, width):
    """Make a picture whose pixels say where they are: rows in channel 0, columns in channel 1, in pixels."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns]).float() + 0.5


class TestTrainCrop:
    @pytest.mark.parametrize("size", [(224, 224), (32, 96), (1, 1)])
    @pytest.mark.parametrize("shape", [(3, 100, 300), (1, 8, 8), (13, 40, 30), (3, 1, 5000), (4, 300, 2)])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    def test_any_picture_takes_the_size_and_keeps_its_type(self, size, shape, dtype):
        crop = train_transform(size)(noise(*shape).to(dtype), rng())
        assert crop.shape == (shape[0], *size) and crop.dtype == dtype

    def test_depends_on_rng_only_and_leaves_the_global_generator_alone(self):
        picture, crop = noise(3, 50, 60), train_transform((32, 32))
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = crop(picture, rng(7))
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(crop(picture, rng(7)), first)
        assert not torch.equal(crop(picture, rng(8)), first)

    def test_draws_one_number_whatever_the_picture(self):
        states = []
        for picture in (noise(3, 50, 60), noise(1, 2, 900)):
            generator = rng(3)
            train_transform((8, 8))(picture, generator)
            states.append(generator.get_state())
        expected = rng(3)
        torch.randint(2**63 - 1, (), generator=expected)
        assert torch.equal(states[0], states[1]) and torch.equal(states[0], expected.get_state())

    def test_is_torchvisions_crop_and_flip(self):
        picture = noise(3, 90, 120)
        for seed in range(8):
            inner = int(torch.randint(2**63 - 1, (), generator=rng(seed)))
            reference = v2.Compose(
                [
                    v2.RandomResizedCrop(48, scale=(0.2, 1.0), interpolation=v2.InterpolationMode.BICUBIC),
                    v2.RandomHorizontalFlip(),
                ]
            )
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(inner)
                expected = reference(picture)
            assert torch.equal(train_transform((48, 48))(picture, rng(seed)), expected)

    @pytest.mark.parametrize(("size", "shape"), [((64, 64), (256, 256)), ((32, 128), (200, 800))])
    def test_area_and_aspect_of_the_crops(self, size, shape):
        picture, shape_area = coordinates(*shape), shape[0] * shape[1]
        areas, ratios = [], []
        for seed in range(200):
            rows, columns = TrainCrop(size=size, scale=(0.2, 0.6))(picture, rng(seed))
            down = (rows[-1, 0] - rows[0, 0]).item() / (size[0] - 1)  # source pixels a pixel of the crop
            right = abs(columns[0, -1] - columns[0, 0]).item() / (size[1] - 1)
            height, width = down * size[0], right * size[1]
            areas.append(height * width / shape_area)
            ratios.append(width / height / (size[1] / size[0]))
        assert 0.18 < min(areas) < 0.23 and 0.55 < max(areas) < 0.62
        assert 0.72 < min(ratios) < 0.8 and 1.25 < max(ratios) < 1.39

    def test_half_are_mirrored_and_none_without_flip(self):
        picture = coordinates(64, 64)
        crops = [train_transform((16, 16))(picture, rng(seed)) for seed in range(200)]
        assert 70 < sum(bool(crop[1, 0, 0] > crop[1, 0, -1]) for crop in crops) < 130
        straight = [train_transform((16, 16), flip=False)(picture, rng(s)) for s in range(50)]
        assert all(crop[1, 0, 0] < crop[1, 0, -1] for crop in straight)

    @pytest.mark.parametrize("size", [(8, 8), (6, 10)])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    def test_full_scale_and_square_ratio_is_the_identity(self, size, dtype):
        picture = noise(3, *size).to(dtype)
        crop = TrainCrop(size=size, scale=(1, 1), ratio=(1, 1), flip=False)
        assert all(torch.equal(crop(picture, rng(seed)), picture) for seed in range(10))

    @pytest.mark.parametrize(
        "options",
        [{"scale": (0, 1)}, {"scale": (0.5, 0.2)}, {"scale": (0.2, 1.5)}, {"ratio": (2, 1)}, {"ratio": (0, 1)}],
    )
    def test_impossible_settings(self, options):
        with pytest.raises(ValueError, match=next(iter(options))):
            TrainCrop(size=(8, 8), **options)

    @pytest.mark.parametrize("kind", [TrainCrop, EvalCrop])
    @pytest.mark.parametrize("size", [(0, 8), (8, -1), (8,)])
    def test_impossible_sizes(self, kind, size):
        with pytest.raises(ValueError, match="size must be"):
            kind(size=size)

    def test_the_order_of_pixels_in_memory_does_not_matter(self):
        planar = noise(3, 90, 120)
        interleaved = planar.permute(1, 2, 0).contiguous().permute(2, 0, 1)
        for crop in (train_transform((48, 48)), eval_transform((48, 48))):
            assert torch.equal(crop(planar, rng(1)), crop(interleaved, rng(1)))

    def test_travels_to_workers(self):
        crop = train_transform((16, 16))
        assert torch.equal(pickle.loads(pickle.dumps(crop))(noise(3, 40, 40), rng(4)), crop(noise(3, 40, 40), rng(4)))


class TestEvalCrop:
    @pytest.mark.parametrize("size", [224, 64, 33])
    @pytest.mark.parametrize("shape", [(300, 400), (401, 299), (50, 60), (256, 256), (100, 799)])
    def test_is_torchvisions_resize_and_centre_crop(self, size, shape):
        picture = noise(3, *shape)
        bicubic = v2.InterpolationMode.BICUBIC
        reference = v2.Compose([v2.Resize(round(size * 256 / 224), interpolation=bicubic), v2.CenterCrop(size)])
        assert torch.equal(eval_transform((size, size))(picture, rng()), reference(picture))

    def test_comes_close_to_what_mae_does_with_pillow(self):
        rows, columns = np.mgrid[0:300, 0:400]
        planes = [rows * 0.8, columns * 0.6, 127 + 120 * np.sin(rows / 9) * np.cos(columns / 7)]
        array = np.stack(planes, axis=-1).astype(np.uint8)
        image = Image.fromarray(array).resize((256 * 400 // 300, 256), Image.Resampling.BICUBIC)
        left, top = round((image.width - 224) / 2), 16
        expected = np.asarray(image.crop((left, top, left + 224, top + 224))).astype(int)
        ours = eval_transform((224, 224))(torch.from_numpy(array).permute(2, 0, 1), rng())
        assert np.abs(ours.permute(1, 2, 0).int().numpy() - expected).max() <= 1

    @pytest.mark.parametrize("size", [(8, 8), (8, 24)])
    def test_a_picture_of_the_very_size_passes_untouched(self, size):
        picture = noise(1, *size)
        assert torch.equal(eval_transform(size)(picture, rng()), picture)

    @pytest.mark.parametrize("size", [(32, 96), (96, 32), (128, 1024)])
    @pytest.mark.parametrize("shape", [(100, 100), (50, 400), (400, 50), (32, 97)])
    @pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
    def test_sizes_that_are_no_squares_show_the_middle_undistorted(self, size, shape, dtype):
        assert eval_transform(size)(noise(5, *shape).to(dtype), rng()).shape == (5, *size)
        rows, columns = eval_transform(size)(coordinates(*shape), rng())
        middle = size[0] // 2, size[1] // 2
        step_down = (rows[middle[0] + 4, middle[1]] - rows[middle[0] - 4, middle[1]]).item() / 8
        step_right = (columns[middle[0], middle[1] + 4] - columns[middle[0], middle[1] - 4]).item() / 8
        assert step_down == pytest.approx(step_right, rel=0.08)
        assert rows.mean().item() == pytest.approx(shape[0] / 2, abs=1.5 * max(1, step_down))
        assert columns.mean().item() == pytest.approx(shape[1] / 2, abs=1.5 * max(1, step_right))

    def test_small_pictures_are_enlarged(self):
        crop = eval_transform((32, 32), resize_ratio=1)(torch.full((1, 3, 3), 9, dtype=torch.uint8), rng())
        assert crop.shape == (1, 32, 32) and (crop == 9).all()

    @pytest.mark.parametrize("shape", [(1, 20_000), (20_000, 1), (3, 9000)])
    def test_a_strip_costs_little_memory(self, shape, monkeypatch):
        made = []
        resize = v2f.resize
        monkeypatch.setattr(v2f, "resize", lambda *args, **options: made.append(resize(*args, **options)) or made[-1])
        assert eval_transform((64, 64))(noise(3, *shape), rng()).shape == (3, 64, 64)
        assert made[0].numel() < 3 * 73 * 73 * 10

    def test_a_long_picture_is_cut_where_it_does_not_show(self):
        picture = coordinates(40, 2000)
        columns = eval_transform((40, 40), resize_ratio=1)(picture, rng())[1]
        torch.testing.assert_close(columns[0], torch.arange(980, 1020) + 0.5)

    def test_an_impossible_ratio(self):
        with pytest.raises(ValueError, match="resize_ratio must be at least 1"):
            EvalCrop(size=(8, 8), resize_ratio=0.9)
