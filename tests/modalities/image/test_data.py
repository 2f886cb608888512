import os
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, features

from maskkit.data.source import BadSampleError, Key, Source
from maskkit.modalities.image.arrays import open_array
from maskkit.modalities.image.data import Pictures, open_pictures
from maskkit.modalities.image.reader import read_picture
from maskkit.modalities.image.survey import measure, survey

# pytest sets the reader's own filter aside; test_large_pictures_and_odd_metadata_make_no_noise looks without pytest
pytestmark = pytest.mark.filterwarnings(r"ignore:::PIL\.")

GREY = np.array([[0, 40, 80], [120, 160, 200]], dtype=np.uint8)
COLOUR = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)
UPRIGHT_TURNS = {  # what a viewer shows for each EXIF orientation of a stored picture
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def as_it_is(picture, rng):
    return picture


def save(path, picture, **options):
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(path, **options)
    return str(path)


def hwc(tensor):
    assert tensor.dtype == torch.uint8
    return tensor.permute(1, 2, 0).numpy()


def writes_qoi():
    """Pillow 11.3 is the first that does."""
    Image.init()
    return "QOI" in Image.SAVE


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def smooth(height, width):
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [rows * 255 / height, columns * 255 / width, (rows + columns) * 255 / (height + width)]
    return np.stack(planes, axis=-1).astype(np.uint8)


class TestColours:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("a.png", {}),
            ("a.bmp", {}),
            ("a.ppm", {}),
            ("a.qoi", {}),
            ("a.tif", {}),
            ("a.tif", {"compression": "tiff_lzw"}),
            ("a.webp", {"lossless": True}),
            ("a.jp2", {"irreversible": False}),
        ],
    )
    def test_lossless_formats_give_the_very_pixels(self, tmp_path, name, options):
        if name == "a.qoi" and not writes_qoi():
            pytest.skip("this Pillow reads QOI but does not write it")
        picture = read_picture(save(tmp_path / name, COLOUR, **options))
        assert picture.shape == (3, 2, 3)
        np.testing.assert_array_equal(hwc(picture), COLOUR)

    @pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.avif"])
    def test_lossy_formats_come_close(self, tmp_path, name):
        if name == "a.avif" and not features.check("avif"):
            pytest.skip("this Pillow knows no AVIF")
        picture = read_picture(save(tmp_path / name, smooth(48, 64), quality=95))
        assert picture.shape == (3, 48, 64)
        assert np.abs(hwc(picture).astype(int) - smooth(48, 64)).mean() < 3

    def test_content_decides_and_not_the_suffix(self, tmp_path):
        path = save(tmp_path / "really_png.jpg", COLOUR, format="PNG")
        np.testing.assert_array_equal(hwc(read_picture(path)), COLOUR)

    def test_grey_is_repeated_and_kept(self, tmp_path):
        path = save(tmp_path / "a.png", GREY)
        np.testing.assert_array_equal(read_picture(path, 1)[0].numpy(), GREY)
        np.testing.assert_array_equal(hwc(read_picture(path, 3)), np.repeat(GREY[..., None], 3, axis=-1))

    def test_one_channel_is_luminance(self, tmp_path):
        primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
        picture = read_picture(save(tmp_path / "a.png", primaries), 1)
        assert picture.shape == (1, 1, 4)
        assert picture.flatten().tolist() == [76, 150, 29, 255]  # 0.299, 0.587, 0.114 (ITU-R 601)

    def test_one_bit(self, tmp_path):
        bits = np.array([[True, False, True]])
        path = save(tmp_path / "a.png", Image.fromarray(bits))
        assert Image.open(path).mode == "1"
        assert read_picture(path, 1).flatten().tolist() == [255, 0, 255]
        assert read_picture(path, 3)[:, 0, 1].tolist() == [0, 0, 0]

    def test_cmyk(self, tmp_path):
        inks = np.zeros((1, 4, 4), dtype=np.uint8)
        inks[0, 0, 0] = inks[0, 1, 1] = inks[0, 2, 2] = inks[0, 3, 3] = 255  # cyan, magenta, yellow, black
        path = save(tmp_path / "a.tif", Image.fromarray(inks, mode="CMYK"))
        expected = [[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
        assert hwc(read_picture(path))[0].tolist() == expected

    def test_cmyk_jpeg_is_not_inverted(self, tmp_path):
        white = np.zeros((16, 16, 4), dtype=np.uint8)
        path = save(tmp_path / "a.jpg", Image.fromarray(white, mode="CMYK"))
        assert read_picture(path).float().mean() > 250

    def test_ycbcr_tiff_or_jpeg_comes_as_rgb(self, tmp_path):
        image = Image.fromarray(np.full((8, 8, 3), (200, 30, 30), dtype=np.uint8)).convert("YCbCr")
        middle = read_picture(save(tmp_path / "a.jpg", image, quality=95))[:, 4, 4].int()
        assert (middle - torch.tensor([200, 30, 30])).abs().max() <= 4

    @pytest.mark.parametrize("channels", [0, 2, 5, 13])
    def test_other_channel_counts_point_to_arrays(self, tmp_path, channels):
        path = save(tmp_path / "a.png", COLOUR)
        with pytest.raises(ValueError, match=r"channels must be 1, 3 or 4 .* \(.npy or .npz\)"):
            read_picture(path, channels)


class TestManyBits:
    RAMP = np.array([[0, 128, 129, 257, 32768, 65278, 65535]], dtype=np.uint16)
    EXPECTED = [0, 0, 1, 1, 128, 254, 255]  # v / 257, rounded

    @pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm", "a.jp2"])
    def test_sixteen_bits_keep_their_range(self, tmp_path, name):
        options = {"irreversible": False} if name == "a.jp2" else {}
        path = save(tmp_path / name, self.RAMP, **options)
        assert read_picture(path, 1).flatten().tolist() == self.EXPECTED
        assert read_picture(path, 3)[2].flatten().tolist() == self.EXPECTED

    def test_big_endian_tiff(self, tmp_path):
        image = Image.frombytes("I;16B", (7, 1), self.RAMP.astype(">u2").tobytes())
        path = save(tmp_path / "a.tif", image)
        assert Image.open(path).mode == "I;16B"
        assert read_picture(path, 1).flatten().tolist() == self.EXPECTED

    def test_a_dark_picture_stays_dark(self, tmp_path):
        path = save(tmp_path / "a.png", np.full((2, 2), 2570, dtype=np.uint16))
        assert read_picture(path, 1).unique().tolist() == [10]

    def test_pgm_of_ten_bits_uses_its_own_maximum(self, tmp_path):
        (tmp_path / "a.pgm").write_bytes(b"P5 3 1 1023\n" + np.array([0, 512, 1023], dtype=">u2").tobytes())
        assert read_picture(str(tmp_path / "a.pgm"), 1).flatten().tolist() == [0, 128, 255]

    def test_sixteen_bit_colour(self, tmp_path):
        # Pillow cannot write it, so the PNG is put together here: one pixel, 16 bits for each of three channels
        def chunk(kind, data):
            return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

        header = (1).to_bytes(4, "big") * 2 + bytes([16, 2, 0, 0, 0])
        pixel = b"\0" + np.array([65535, 32768, 255], dtype=">u2").tobytes()
        png = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixel)) + chunk(b"IEND", b"")
        (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + png)
        assert read_picture(str(tmp_path / "a.png")).flatten().tolist() == [255, 128, 0]

    @pytest.mark.parametrize("dtype", [np.float32, np.int32])
    def test_thirty_two_bits_are_stretched(self, tmp_path, dtype):
        path = save(tmp_path / "a.tif", np.array([[-1000, 0, 1000]], dtype=dtype))
        assert read_picture(path, 1).flatten().tolist() == [0, 128, 255]

    def test_a_constant_float_picture_is_black(self, tmp_path):
        path = save(tmp_path / "a.tif", np.full((2, 2), 7.5, dtype=np.float32))
        assert read_picture(path, 3).unique().tolist() == [0]

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_floats_that_are_no_numbers(self, tmp_path, value):
        path = save(tmp_path / "a.tif", np.array([[0, value, 1]], dtype=np.float32))
        with pytest.raises(BadSampleError, match="NaN or infinite"):
            read_picture(path)


class TestTransparency:
    PIXELS = np.array([[[10, 20, 30, 255], [0, 0, 0, 0], [255, 0, 0, 51]]], dtype=np.uint8)
    ON_WHITE = [[10, 20, 30], [255, 255, 255], [255, 204, 204]]  # 51 is a fifth

    @pytest.mark.parametrize(("name", "options"), [("a.png", {}), ("a.tif", {}), ("a.webp", {"lossless": True})])
    def test_is_put_on_white(self, tmp_path, name, options):
        assert hwc(read_picture(save(tmp_path / name, self.PIXELS, **options)))[0].tolist() == self.ON_WHITE

    def test_grey_with_alpha(self, tmp_path):
        image = Image.fromarray(np.array([[[0, 0], [100, 255]]], dtype=np.uint8), mode="LA")
        path = save(tmp_path / "a.png", image)
        assert read_picture(path, 1).flatten().tolist() == [255, 100]
        assert read_picture(path, 3)[:, 0, 0].tolist() == [255, 255, 255]

    def test_an_opaque_picture_is_unchanged(self, tmp_path):
        opaque = np.concatenate([noise(16, 16, 3), np.full((16, 16, 1), 255, dtype=np.uint8)], axis=-1)
        np.testing.assert_array_equal(hwc(read_picture(save(tmp_path / "a.png", opaque))), opaque[..., :3])

    def test_four_channels_keep_it(self, tmp_path):
        np.testing.assert_array_equal(hwc(read_picture(save(tmp_path / "a.png", self.PIXELS), 4)), self.PIXELS)
        assert (read_picture(save(tmp_path / "b.png", COLOUR), 4)[3] == 255).all()

    def test_a_colour_that_stands_for_transparent(self, tmp_path):
        path = save(tmp_path / "a.png", COLOUR, transparency=tuple(int(v) for v in COLOUR[0, 1]))
        expected = COLOUR.copy()
        expected[0, 1] = 255
        np.testing.assert_array_equal(hwc(read_picture(path)), expected)


class TestPalette:
    @pytest.fixture
    def image(self):
        image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
        image.putpalette([255, 0, 0, 0, 128, 0, 7, 8, 9])
        return image

    @pytest.mark.parametrize("name", ["a.png", "a.gif", "a.bmp", "a.tif"])
    def test_gives_colours_and_not_indices(self, tmp_path, image, name):
        assert hwc(read_picture(save(tmp_path / name, image)))[0].tolist() == [[255, 0, 0], [0, 128, 0], [7, 8, 9]]

    @pytest.mark.parametrize("name", ["a.png", "a.gif"])
    def test_one_transparent_index(self, tmp_path, image, name):
        path = save(tmp_path / name, image, transparency=1)
        assert hwc(read_picture(path))[0].tolist() == [[255, 0, 0], [255, 255, 255], [7, 8, 9]]
        assert read_picture(path, 4)[3].flatten().tolist() == [255, 0, 255]

    def test_alpha_for_each_index(self, tmp_path, image):
        path = save(tmp_path / "a.png", image, transparency=bytes([51, 255, 0]))
        assert hwc(read_picture(path))[0].tolist() == [[255, 204, 204], [0, 128, 0], [255, 255, 255]]

    def test_luminance(self, tmp_path, image):
        assert read_picture(save(tmp_path / "a.png", image), 1).flatten().tolist() == [76, 75, 8]


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("name", ["a.png", "a.tif", "lzw.tif", "a.webp"])
    @pytest.mark.parametrize("stored", [GREY, COLOUR], ids=["grey", "colour"])
    def test_pictures_stand_upright(self, tmp_path, name, orientation, stored):
        exif = Image.Exif()
        exif[0x0112] = orientation
        options = {"lzw.tif": {"compression": "tiff_lzw"}, "a.webp": {"lossless": True}}.get(name, {})
        path = save(tmp_path / name, stored, exif=exif, **options)
        picture = hwc(read_picture(path))
        expected = UPRIGHT_TURNS[orientation](stored)
        np.testing.assert_array_equal(picture, expected if stored.ndim == 3 else np.repeat(expected[..., None], 3, -1))
        seen = survey(path)
        assert (seen.height, seen.width) == expected.shape[:2]

    def test_jpeg_turned_and_reduced(self, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        path = save(tmp_path / "a.jpg", smooth(200, 400), exif=exif, quality=95)
        assert read_picture(path).shape == (3, 400, 200)
        reduced = read_picture(path, min_side=50)
        assert reduced.shape == (3, 200, 100)
        assert reduced[0, 100, 5] > reduced[0, 100, 95] + 100  # the stored bottom is the left seen

    @pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
    def test_broken_exif_does_not_lose_the_picture(self, tmp_path, exif):
        assert read_picture(save(tmp_path / "a.jpg", COLOUR, exif=exif)).shape == (3, 2, 3)

    @pytest.mark.parametrize("orientation", [0, 9, 65535])
    def test_unknown_orientation_is_upright(self, tmp_path, orientation):
        exif = Image.Exif()
        exif[0x0112] = orientation
        np.testing.assert_array_equal(hwc(read_picture(save(tmp_path / "a.png", COLOUR, exif=exif))), COLOUR)


class TestFirstFrame:
    @pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif"])
    def test_of_animations_and_pages(self, tmp_path, name):
        red, blue = (Image.new("RGB", (4, 4), colour) for colour in ("red", "blue"))
        options = {"lossless": True} if name == "a.webp" else {}
        path = save(tmp_path / name, red, save_all=True, append_images=[blue], **options)
        assert Image.open(path).n_frames == 2
        assert read_picture(path)[:, 2, 2].tolist() == [255, 0, 0]


class TestMinSide:
    @pytest.mark.parametrize(
        ("min_side", "shape"),
        [(None, (400, 640)), (300, (400, 640)), (101, (400, 640)), (100, (200, 320)), (50, (100, 160)), (1, (50, 80))],
    )
    def test_both_sides_stay_twice_as_large(self, tmp_path, min_side, shape):
        path = save(tmp_path / "a.jpg", smooth(400, 640), quality=95)
        picture = read_picture(path, min_side=min_side)
        assert picture.shape == (3, *shape)
        reference = Image.fromarray(smooth(400, 640)).resize(shape[::-1], Image.Resampling.BOX)
        assert np.abs(hwc(picture).astype(int) - np.asarray(reference)).mean() < 3

    def test_leaves_other_formats_alone(self, tmp_path):
        picture = read_picture(save(tmp_path / "a.png", smooth(400, 640)), min_side=50)
        np.testing.assert_array_equal(hwc(picture), smooth(400, 640))


class TestBadFiles:
    @staticmethod
    def reason(path):
        with pytest.raises(BadSampleError) as caught:
            read_picture(str(path))
        assert caught.value.path == str(path)
        assert "\n" not in caught.value.reason and not caught.value.reason.endswith(".")
        return caught.value.reason

    def test_what_is_no_readable_file(self, tmp_path):
        (tmp_path / "empty.jpg").touch()
        (tmp_path / "folder.jpg").mkdir()
        os.mkfifo(tmp_path / "pipe.jpg")
        (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
        assert self.reason(tmp_path / "gone.jpg") == "no such file or directory"
        assert self.reason(tmp_path / "empty.jpg") == "empty file"
        assert self.reason(tmp_path / "folder.jpg") == "a folder, not a picture"
        assert self.reason(tmp_path / "pipe.jpg") == "not an ordinary file"
        assert self.reason(tmp_path / "self.jpg") == "too many levels of symbolic links"
        assert "null byte" in self.reason("nul\0.jpg")

    @pytest.mark.parametrize(
        "content", [b"<html>404</html>", b"\0" * 100, b"\xff\xd8", b"%!PS-Adobe-3.0 EPSF-3.0\n", noise(5000).tobytes()]
    )
    def test_what_is_no_picture(self, tmp_path, content):
        (tmp_path / "a.jpg").write_bytes(content)
        assert self.reason(tmp_path / "a.jpg")

    def test_html_is_called_by_its_name(self, tmp_path):
        (tmp_path / "a.jpg").write_bytes(b"<html>404</html>")
        assert self.reason(tmp_path / "a.jpg") == "not an image, or in a format that Pillow does not know"

    @pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "gif", "bmp", "ppm", "jp2", "qoi", "avif"])
    @pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.95])
    def test_truncated(self, tmp_path, suffix, share):
        if suffix == "avif" and not features.check("avif"):
            pytest.skip("this Pillow knows no AVIF")
        if suffix == "qoi" and not writes_qoi():
            pytest.skip("this Pillow reads QOI but does not write it")
        path = tmp_path / f"a.{suffix}"
        whole = open(save(path, noise(64, 64, 3)), "rb").read()
        path.write_bytes(whole[: int(len(whole) * share)])
        reason = self.reason(path)
        if suffix in ("jpg", "png", "bmp", "ppm") and share >= 0.5:
            assert reason.startswith("truncated: image file is truncated")

    def test_damaged_in_the_middle_never_raises_anything_else(self, tmp_path):
        rng = np.random.default_rng(1)
        for suffix in ("jpg", "png", "webp", "tif", "gif", "bmp"):
            path = tmp_path / f"a.{suffix}"
            whole = np.frombuffer(open(save(path, smooth(24, 24)), "rb").read(), dtype=np.uint8)
            for _ in range(60):
                broken = whole.copy()
                broken[rng.integers(0, len(whole), 12)] = rng.integers(0, 256, 12)
                path.write_bytes(broken.tobytes())
                try:
                    assert read_picture(str(path)).dtype == torch.uint8
                except BadSampleError as error:
                    assert error.path == str(path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
    def test_without_permission(self, tmp_path):
        path = save(tmp_path / "a.png", COLOUR)
        os.chmod(path, 0)
        assert self.reason(path) == "permission denied"

    def test_bombs(self, tmp_path, monkeypatch):
        path = save(tmp_path / "a.png", noise(100, 100))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        assert self.reason(path).startswith("more than 0.002 million pixels")

    def test_large_pictures_and_odd_metadata_make_no_noise(self, tmp_path):
        large = save(tmp_path / "a.png", noise(40, 40))
        broken_exif = save(tmp_path / "a.jpg", COLOUR, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        code = (
            "import sys; from PIL import Image; from maskkit.modalities.image.reader import read_picture;"
            "Image.MAX_IMAGE_PIXELS = 1000; [read_picture(path) for path in sys.argv[1:]]"
        )
        command = [sys.executable, "-W", "always", "-c", code, large, broken_exif]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert "PIL" not in done.stderr and "Image size" not in done.stderr


class TestPictures:
    def test_is_a_source_with_paths_and_labels(self, tmp_path):
        for kind in ("cat", "dog"):
            (tmp_path / kind).mkdir()
            save(tmp_path / kind / "1.png", COLOUR if kind == "cat" else GREY)
        source = open_pictures(tmp_path, channels=3, transform=lambda picture, rng: picture + 1)
        assert isinstance(source, Pictures) and isinstance(source, Source) and len(source) == 2
        assert source.path(1) == f"{tmp_path}/dog/1.png" and source.label(1) == "dog"
        np.testing.assert_array_equal(hwc(source.read(Key.of(0), torch.Generator())), COLOUR + 1)

    def test_the_generator_reaches_the_transform(self, tmp_path):
        save(tmp_path / "1.png", GREY)
        source = open_pictures(tmp_path, channels=1, transform=lambda _, rng: torch.rand(1, generator=rng))
        expected = torch.rand(1, generator=torch.Generator().manual_seed(5))
        assert source.read(Key.of(0), torch.Generator().manual_seed(5)) == expected

    def test_files_that_are_no_pictures_are_bad_samples_with_their_path(self, tmp_path):
        save(tmp_path / "a.png", GREY)
        (tmp_path / "b.jpg").write_text("no picture")
        (tmp_path / "notes.txt").write_text("ignored")
        source = open_pictures(tmp_path, channels=3, transform=as_it_is)
        assert len(source) == 2
        with pytest.raises(BadSampleError, match=r"b\.jpg: not an image"):
            source.read(Key.of(1), torch.Generator())

    def test_channels_are_checked_before_training_starts(self, tmp_path):
        save(tmp_path / "a.png", GREY)
        with pytest.raises(ValueError, match="channels must be 1, 3 or 4"):
            open_pictures(tmp_path, channels=5, transform=as_it_is)


def store(path, pictures, **named):
    if str(path).endswith(".npy"):
        np.save(path, pictures)
    else:
        np.savez(path, **({"images": pictures} | named))
    return str(path)


def read(source, index=0):
    return source.read(Key.of(index), torch.Generator())


class TestArrayLayouts:
    @pytest.mark.parametrize("name", ["a.npy", "a.npz"])
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_the_small_axis_has_the_channels(self, tmp_path, name, channels):
        planes = noise(5, channels, 6, 7)
        first = open_array(where=store(tmp_path / f"1{name}", planes), transform=as_it_is)
        last = open_array(where=store(tmp_path / f"2{name}", planes.transpose(0, 2, 3, 1)), transform=as_it_is)
        assert len(first) == len(last) == 5 and first.shape == last.shape == (channels, 6, 7)
        for i in range(5):
            np.testing.assert_array_equal(read(first, i).numpy(), planes[i])
            np.testing.assert_array_equal(read(last, i).numpy(), planes[i])
            assert read(last, i).is_contiguous() and read(last, i).dtype == torch.uint8

    def test_without_an_axis_for_them(self, tmp_path):
        grey = noise(5, 6, 7)
        path = store(tmp_path / "a.npy", grey)
        for channels in (None, 1):
            assert read(open_pictures(path, channels=channels, transform=as_it_is), 3).tolist() == [grey[3].tolist()]
        repeated = read(open_pictures(path, channels=3, transform=as_it_is), 3)
        np.testing.assert_array_equal(repeated.numpy(), np.stack([grey[3]] * 3))

    @pytest.mark.parametrize("shape", [(5, 1, 6, 7), (5, 6, 7, 1)])
    def test_one_stored_channel_is_repeated_to_three(self, tmp_path, shape):
        grey = noise(*shape)
        repeated = read(open_pictures(store(tmp_path / "a.npy", grey), channels=3, transform=as_it_is), 4)
        np.testing.assert_array_equal(repeated.numpy(), np.stack([grey[4].reshape(6, 7)] * 3))

    def test_given_channels_win(self, tmp_path):
        many = noise(3, 12, 8, 4)
        path = store(tmp_path / "a.npy", many)
        np.testing.assert_array_equal(read(open_array(where=path, transform=as_it_is, channels=12), 1).numpy(), many[1])
        last = read(open_array(where=path, transform=as_it_is), 1)
        np.testing.assert_array_equal(last.numpy(), many[1].transpose(2, 0, 1))

    def test_two_equal_axes_are_those_of_the_picture(self, tmp_path):
        many = noise(3, 12, 8, 8)
        first = open_array(where=store(tmp_path / "a.npy", many), transform=as_it_is)
        np.testing.assert_array_equal(read(first, 1).numpy(), many[1])
        last = open_array(where=store(tmp_path / "b.npy", many.transpose(0, 2, 3, 1)), transform=as_it_is)
        np.testing.assert_array_equal(read(last, 1).numpy(), many[1])

    def test_layout_settles_what_sizes_leave_open(self, tmp_path):
        square = noise(2, 8, 8, 8)
        path = store(tmp_path / "a.npy", square)
        for channels in (None, 8):
            with pytest.raises(ValueError, match=r"2x8x8x8 leaves open .* say channels= .--channels. or layout='NCHW'"):
                open_array(where=path, transform=as_it_is, channels=channels)
        first = open_array(where=path, transform=as_it_is, layout="NCHW")
        last = open_array(where=path, transform=as_it_is, layout="NHWC", channels=8)
        np.testing.assert_array_equal(read(first).numpy(), square[0])
        np.testing.assert_array_equal(read(last).numpy(), square[0].transpose(2, 0, 1))

    @pytest.mark.parametrize(
        ("shape", "options", "words"),
        [
            ((5, 64), {}, "5x64 is not N images"),
            ((5, 3, 2, 8, 8), {}, "is not N images"),
            ((0, 8, 8), {}, "no pixels"),
            ((5, 3, 0, 8), {}, "no pixels"),
            ((48, 64, 3), {}, "looks like one image"),
            ((5, 12, 8, 9), {}, "leaves open"),
            ((5, 3, 8, 3), {"channels": 3}, "leaves open"),
            ((5, 12, 8, 9), {"channels": 3}, "neither axis 1 nor 3 of shape 5x12x8x9 has 3"),
            ((5, 8, 8), {"channels": 4}, "has 1 channel"),
            ((5, 3, 8, 8), {"channels": 1}, "neither axis"),
            ((5, 3, 8, 8), {"layout": "CHWN"}, "layout must be"),
        ],
    )
    def test_shapes_that_cannot_be_told(self, tmp_path, shape, options, words):
        with pytest.raises(ValueError, match=words) as caught:
            open_array(where=store(tmp_path / "a.npy", np.zeros(shape, np.uint8)), transform=as_it_is, **options)
        assert "\n" not in str(caught.value)

    def test_narrow_grey_pictures_if_said(self, tmp_path):
        assert len(open_array(where=store(tmp_path / "a.npy", noise(9, 5, 4)), transform=as_it_is, channels=1)) == 9


class TestArrayNumbers:
    def test_bool_is_black_and_white(self, tmp_path):
        bits = noise(2, 5, 6) > 127
        source = open_array(where=store(tmp_path / "a.npy", bits), transform=as_it_is)
        assert source.row.is_uint8 and read(source, 1).dtype == torch.uint8
        np.testing.assert_array_equal(read(source, 1)[0].numpy(), bits[1] * 255)

    @pytest.mark.parametrize("dtype", ["<u2", ">u2", "i1", "i8", "<f2", ">f4", "f8", "u4"])
    def test_other_numbers_become_float32_and_are_normalised(self, tmp_path, dtype):
        values = (noise(3, 2, 5, 6) // 2).astype(dtype)
        path = store(tmp_path / "a.npy", values)
        source = open_pictures(path, channels=2, transform=as_it_is, mean=(10, 20.5), std=(2, 4))
        expected = (values.astype(np.float32) - np.array([10, 20.5])[:, None, None]) / np.array([2, 4])[:, None, None]
        assert read(source, 2).dtype == torch.float32 and not source.row.is_uint8
        np.testing.assert_allclose(read(source, 2).numpy(), expected[2], rtol=1e-6)
        raw = open_pictures(path, channels=2, transform=as_it_is)
        np.testing.assert_array_equal(read(raw, 2).numpy(), values[2].astype(np.float32))

    def test_uint8_is_left_to_the_model(self, tmp_path):
        pixels = noise(2, 3, 5, 6)
        source = open_array(where=store(tmp_path / "a.npy", pixels), transform=as_it_is, mean=(1, 1, 1), std=(2, 2, 2))
        np.testing.assert_array_equal(read(source, 1).numpy(), pixels[1])

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_no_numbers_are_a_bad_sample_and_only_that_one(self, tmp_path, value):
        values = np.ones((3, 5, 6))
        values[1, 4, 5] = value
        source = open_array(where=store(tmp_path / "a.npy", values), transform=as_it_is)
        with pytest.raises(BadSampleError, match=r"a\.npy\[1\]: holds NaN or infinite"):
            read(source, 1)
        assert read(source, 0).sum() == read(source, 2).sum() == 30

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"mean": (0,)}, "given together"),
            ({"mean": (0, 0), "std": (1, 1)}, "one number per channel, 3, got 2"),
            ({"mean": (0, 0, 0), "std": (1, 0, 1)}, "std must be positive"),
            ({"mean": (0, 0, 0), "std": (1, float("nan"), 1)}, "std must be positive"),
        ],
    )
    def test_mean_and_std_are_checked(self, tmp_path, options, words):
        path = store(tmp_path / "a.npy", np.ones((2, 3, 5, 6)))
        with pytest.raises(ValueError, match=words):
            open_pictures(path, channels=3, transform=as_it_is, **options)

    def test_writing_to_a_sample_does_not_reach_the_file(self, tmp_path):
        path = store(tmp_path / "a.npy", noise(2, 5, 6))
        source = open_array(where=path, transform=as_it_is)
        before = np.load(path).copy()
        read(source, 0).zero_()
        np.testing.assert_array_equal(np.load(path), before)


class TestArrayFiles:
    @pytest.mark.parametrize(
        ("pictures", "labels"),
        [
            ("images", "labels"),
            ("x", "y"),
            ("X", "Y"),
            ("data", "targets"),
            ("arr_0", "label"),
            ("x_train", "y_train"),
            ("train_images", "train_labels"),
            ("whatever", "target"),
        ],
    )
    def test_names_in_an_npz(self, tmp_path, pictures, labels):
        np.savez(tmp_path / "a.npz", **{labels: np.array([2, 0, 1]), pictures: noise(3, 5, 6)})
        source = open_array(where=str(tmp_path / "a.npz"), transform=as_it_is)
        assert [source.label(i) for i in range(3)] == ["2", "0", "1"]
        assert source.path(2) == f"{tmp_path}/a.npz[2]" and isinstance(source, Source)

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (np.array(["cat", "dog"]), ["cat", "dog"]),
            (np.array([b"cat", b"dog"]), ["cat", "dog"]),
            (np.array([[3], [4]], dtype=np.uint8), ["3", "4"]),
            (np.array([1.0, 2.5]), ["1", "2.5"]),
        ],
    )
    def test_kinds_of_labels(self, tmp_path, labels, expected):
        source = open_array(where=store(tmp_path / "a.npz", noise(2, 5, 6), labels=labels), transform=as_it_is)
        assert [source.label(i) for i in range(2)] == expected

    def test_no_labels(self, tmp_path):
        assert open_array(where=store(tmp_path / "a.npz", noise(2, 5, 6)), transform=as_it_is).label(0) is None
        assert open_array(where=store(tmp_path / "a.npy", noise(2, 5, 6)), transform=as_it_is).label(0) is None

    @pytest.mark.parametrize("labels", [np.arange(3), np.zeros((2, 10))])
    def test_labels_that_do_not_fit(self, tmp_path, labels):
        path = store(tmp_path / "a.npz", noise(2, 5, 6), labels=labels)
        with pytest.raises(ValueError, match="labels of shape .* for 2 samples"):
            open_array(where=path, transform=as_it_is).label(0)

    def test_npy_is_mapped_and_npz_under_a_wrong_name_is_known(self, tmp_path):
        source = open_array(where=store(tmp_path / "a.npy", noise(2, 3, 5, 6)), transform=as_it_is)
        assert isinstance(source.array, np.memmap)
        os.rename(store(tmp_path / "b.npz", COLOUR[None]), tmp_path / "b.npy")
        mistaken = open_array(where=str(tmp_path / "b.npy"), transform=as_it_is, layout="NHWC")
        np.testing.assert_array_equal(hwc(read(mistaken)), COLOUR)

    def test_a_pickled_source_opens_the_file_again(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(100, 1, 32, 32))
        source = open_array(where=store(tmp_path / "a.npy", values), transform=as_it_is, mean=(1,), std=(2,))
        sent = pickle.dumps(source)
        assert len(sent) < 1000
        assert torch.equal(read(pickle.loads(sent), 99), read(source, 99))

    def test_fortran_order(self, tmp_path):
        values = np.asfortranarray(noise(3, 5, 6))
        source = open_array(where=store(tmp_path / "a.npy", values), transform=as_it_is)
        np.testing.assert_array_equal(read(source, 2)[0].numpy(), values[2])

    @pytest.mark.parametrize("name", ["a.npy", "a.npz"])
    def test_pickled_objects_are_refused(self, tmp_path, name):
        trap = Trap(str(tmp_path / "sprung"))
        path = store(tmp_path / name, np.array([trap, None], dtype=object))
        with pytest.raises(ValueError, match="holds pickled Python objects, which are never loaded"):
            open_array(where=path, transform=as_it_is)
        with pytest.raises(ValueError, match="pickled"):
            (tmp_path / "plain.npy").write_bytes(pickle.dumps(trap))
            open_array(where=str(tmp_path / "plain.npy"), transform=as_it_is)
        labelled = store(tmp_path / "l.npz", noise(2, 5, 6), labels=np.array([trap, None], dtype=object))
        with pytest.raises(ValueError, match="pickled"):
            open_array(where=labelled, transform=as_it_is).label(0)
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
    @pytest.mark.parametrize("name", ["a.npy", "a.npz"])
    def test_truncated(self, tmp_path, name, share):
        path = store(tmp_path / name, noise(20, 16, 16))
        whole = open(path, "rb").read()
        open(path, "wb").write(whole[: int(len(whole) * share)])
        with pytest.raises(ValueError, match=name) as caught:
            open_pictures(path, channels=1, transform=as_it_is)
        assert "\n" not in str(caught.value)

    def test_damaged_npz(self, tmp_path):
        np.savez_compressed(tmp_path / "a.npz", images=noise(20, 16, 16) // 16)
        whole = bytearray((tmp_path / "a.npz").read_bytes())
        whole[400:440] = b"\xff" * 40
        (tmp_path / "a.npz").write_bytes(whole)
        with pytest.raises(ValueError, match=r"a\.npz: .*; save plain numbers"):
            open_array(where=str(tmp_path / "a.npz"), transform=as_it_is)

    def test_what_is_not_there_or_not_numbers(self, tmp_path):
        with pytest.raises(ValueError, match="no such file"):
            open_pictures(tmp_path / "gone.npy", channels=None, transform=as_it_is)
        with pytest.raises(ValueError, match="not real numbers"):
            open_array(where=store(tmp_path / "s.npy", np.array([["a"]])), transform=as_it_is)
        with pytest.raises(ValueError, match="not real numbers"):
            open_array(where=store(tmp_path / "c.npy", np.ones((2, 5, 6), complex)), transform=as_it_is)
        np.savez(tmp_path / "two.npz", first=noise(2, 5, 6), second=noise(2, 5, 6))
        with pytest.raises(ValueError, match="holds first, second; call the samples 'images'"):
            open_array(where=str(tmp_path / "two.npz"), transform=as_it_is)


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


class TestMeasure:
    def test_files_of_different_sizes_count_by_pixel(self, tmp_path):
        pictures = [noise(4 + i, 9, 3, seed=i) for i in range(5)]
        for i, picture in enumerate(pictures):
            save(tmp_path / f"{i}.png", picture)
        pixels = np.concatenate([picture.reshape(-1, 3) for picture in pictures]) / 255
        mean, std = measure(tmp_path)
        np.testing.assert_allclose(mean, pixels.mean(0), rtol=1e-12)
        np.testing.assert_allclose(std, pixels.std(0), rtol=1e-12)

    def test_floats_in_their_own_units_with_a_large_offset(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(50, 5, 6, 7)) + np.arange(5)[:, None, None] * 100_000
        values = values.astype(np.float32)
        mean, std = measure(store(tmp_path / "a.npy", values), channels=5)
        np.testing.assert_allclose(mean, values.mean((0, 2, 3), dtype=np.float64), rtol=1e-12)
        np.testing.assert_allclose(std, values.std((0, 2, 3), dtype=np.float64), rtol=1e-9)

    def test_what_was_measured_normalises(self, tmp_path):
        path = store(tmp_path / "a.npy", np.random.default_rng(0).normal(40, 9, size=(30, 2, 8, 8)))
        mean, std = measure(path)
        source = open_pictures(path, channels=None, transform=as_it_is, mean=mean, std=std)
        everything = torch.stack([read(source, i) for i in range(30)]).double()
        assert everything.mean((0, 2, 3)).abs().max() < 1e-6
        assert (everything.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6

    def test_a_constant_channel_has_deviation_one(self, tmp_path):
        values = np.random.default_rng(0).normal(size=(3, 2, 5, 6))
        values[:, 1] = 0.1
        mean, std = measure(store(tmp_path / "a.npy", values))
        assert mean[1] == pytest.approx(0.1) and std[1] == 1.0 and std[0] != 1.0

    def test_bad_samples_are_passed_over(self, tmp_path):
        save(tmp_path / "a.png", np.full((2, 2), 51, dtype=np.uint8))
        (tmp_path / "b.png").touch()
        save(tmp_path / "c.png", np.full((2, 2), 153, dtype=np.uint8))
        mean, std = measure(tmp_path)
        assert mean == pytest.approx((0.4,)) and std == pytest.approx((0.2,))

    def test_the_limit_spreads_over_the_data(self, tmp_path):
        values = np.arange(101, dtype=np.float32)[:, None, None] * np.ones((5, 6), np.float32)
        mean, _ = measure(store(tmp_path / "a.npy", values), limit=3)
        assert mean == (50.0,)  # samples 0, 50, 100

    def test_only_bad_samples(self, tmp_path):
        (tmp_path / "a.png").touch()
        (tmp_path / "b.png").touch()
        for look in (measure, survey):
            with pytest.raises(ValueError, match=r"none of 2 samples can be read; the first: .*a\.png: empty file"):
                look(tmp_path)


class TestSurvey:
    def test_files(self, tmp_path):
        for i, shape in enumerate([(10, 30, 3), (20, 40, 3), (90, 50)]):
            save(tmp_path / f"{i}.png", noise(*shape))
        (tmp_path / "bad.png").write_text("not an image")
        seen = survey(tmp_path)
        assert (seen.count, seen.height, seen.width, seen.channels, seen.dtype) == (4, 20, 40, 3, "uint8")

    @pytest.mark.parametrize("picture", [GREY, GREY > 100, GREY.astype(np.uint16), GREY.astype(np.float32)])
    def test_all_grey_is_one_channel(self, tmp_path, picture):
        for i in range(3):
            save(tmp_path / f"{i}.tif", picture)
        assert survey(tmp_path).channels == 1

    def test_arrays(self, tmp_path):
        seen = survey(store(tmp_path / "a.npy", np.zeros((9, 12, 16, 20), np.float64)), channels=12)
        assert (seen.count, seen.height, seen.width, seen.channels, seen.dtype) == (9, 16, 20, 12, "float32")
        grey = survey(store(tmp_path / "b.npy", noise(9, 16, 20)))
        assert (grey.channels, grey.dtype) == (1, "uint8")


def png16(values, kind, clear):
    """A PNG of 16 bits with a transparent colour, which Pillow cannot write."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return png(head, struct.pack(f">{len(clear)}H", *clear), rows)


def png(head, trns, rows):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    signature = b"\x89PNG\r\n\x1a\n"
    return signature + b"".join(
        chunk(name, data)
        for name, data in ((b"IHDR", head), (b"tRNS", trns), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def test_a_transparent_colour_of_16_bits_is_put_on_white(tmp_path):
    grey = np.array([[0, 1000], [30000, 65535]])
    (tmp_path / "grey.png").write_bytes(png16(grey, 0, (1000,)))
    assert read_picture(str(tmp_path / "grey.png"), 1)[0].tolist() == [[0, 255], [117, 255]]
    assert read_picture(str(tmp_path / "grey.png"), 4)[3].tolist() == [[255, 0], [255, 255]]
    colour = np.array([[[0, 0, 0], [1000, 2000, 3000]], [[51205, 25607, 0], [65535] * 3]])
    (tmp_path / "colour.png").write_bytes(png16(colour, 2, (1000, 2000, 3000)))
    assert read_picture(str(tmp_path / "colour.png"))[:, 0, 1].tolist() == [255, 255, 255]
    assert read_picture(str(tmp_path / "colour.png"))[:, 1, 0].tolist() == [200, 100, 0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_transparent_grey_of_few_bits_is_put_on_white(tmp_path, bits):
    values = np.arange(16).reshape(2, 8) % 2**bits
    packed = np.packbits(values[..., None] >> np.arange(bits - 1, -1, -1) & 1, axis=None).reshape(2, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in packed)
    content = png(struct.pack(">IIBBBBB", 8, 2, bits, 0, 0, 0, 0), struct.pack(">H", 1), rows)
    (tmp_path / "a.png").write_bytes(content)
    expected = np.where(values == 1, 255, values * 255 // (2**bits - 1))
    assert read_picture(str(tmp_path / "a.png"), 1)[0].tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_nought_is_white_is_no_negative(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    most = np.iinfo(dtype).max
    values = np.linspace(0, most, 64).round().astype(dtype).reshape(8, 8)
    tifffile.imwrite(tmp_path / "a.tif", most - values, photometric="miniswhite")
    read = read_picture(str(tmp_path / "a.tif"), 1)[0].numpy()
    assert np.abs(read - values / most * 255).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_signed_and_unsigned_numbers_of_a_tiff_are_stretched_as_what_they_are(tmp_path, dtype):
    tifffile = pytest.importorskip("tifffile")
    limits = np.iinfo(dtype)
    values = np.linspace(limits.min, limits.max, 64).round().clip(limits.min, limits.max - 127).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values.reshape(8, 8))
    read = read_picture(str(tmp_path / "a.tif"), 1)[0].numpy().ravel()
    low, high = float(values.min()), float(values.max())
    assert np.abs(read - (values.astype(float) - low) / (high - low) * 255).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("bits", [12, 14, 16])
def test_a_tiff_of_fewer_bits_keeps_its_grey_levels(tmp_path, bits):
    values = np.linspace(0, 2**bits - 1, 64).round().astype(np.uint16).reshape(8, 8)
    Image.fromarray(values).save(tmp_path / "a.tif")
    read = read_picture(str(tmp_path / "a.tif"), 1)[0].numpy()
    assert np.abs(read - values / (2**bits - 1) * 255).max() <= 0.5 + 1e-9
    Image.fromarray(values // 4).save(tmp_path / "dark.tif", tiffinfo={281: 2**bits - 1})
    dark = read_picture(str(tmp_path / "dark.tif"), 1)[0].numpy()
    assert np.abs(dark - values // 4 / (2**bits - 1) * 255).max() <= 0.5 + 1e-9


def test_a_small_file_of_a_huge_image_is_one_bad_sample(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKKIT_SAMPLE_GIB", "0.001")
    Image.new("L", (2000, 2000)).save(tmp_path / "a.png")
    with pytest.raises(BadSampleError, match=r"decodes to 0.0112 GiB \(2000 x 2000 pixels\), more than the limit"):
        read_picture(str(tmp_path / "a.png"))
