"""Deep TIFF files as tifffile and Pillow write them: every value against the array that was written."""

import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from maskkit.data.source import BadSampleError, Key
from maskkit.data.tiff import read
from maskkit.modalities import image
from maskkit.modalities.image.data import open_pictures
from maskkit.modalities.image.survey import measure, survey
from maskkit.seeds import generator

BANDS = np.random.default_rng(0).integers(0, 65536, (5, 8, 9)).astype(np.uint16)
LAST = np.moveaxis(BANDS, 0, 2)


def as_it_is(values, rng):
    return values


def whole(path, channels):
    return read(open(path, "rb"), str(path), channels)


LAYOUTS = {
    "contiguous": (LAST, {"planarconfig": "contig"}),
    "planar": (BANDS, {"planarconfig": "separate"}),
    "pages": (BANDS, {}),
    "ome": (BANDS, {"ome": True, "metadata": {"axes": "CYX"}}),
    "imagej": (BANDS, {"imagej": True, "metadata": {"axes": "CYX"}}),
    "big-endian": (LAST, {"planarconfig": "contig", "byteorder": ">"}),
    "bigtiff": (LAST, {"planarconfig": "contig", "bigtiff": True}),
    "deflate": (LAST, {"planarconfig": "contig", "compression": "zlib"}),
    "tiled": (np.tile(LAST, (4, 4, 1)), {"planarconfig": "contig", "tile": (16, 16)}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_five_channels_of_16_bits(tmp_path, layout):
    values, options = LAYOUTS[layout]
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack", **options)
    wanted = values if values.shape[0] == 5 else np.moveaxis(values, 2, 0)
    np.testing.assert_allclose(whole(tmp_path / "a.tif", 5), wanted / 65535, rtol=1e-6)


TAGS = {"min": 280, "max": 281, "smin": 340, "smax": 341}


@pytest.mark.parametrize(
    ("dtype", "tags", "low", "high"),
    [
        ("u1", {}, 0, 255),
        ("u2", {}, 0, 65535),
        ("u4", {}, 0, 2**32 - 1),
        ("i2", {}, 0, 2**15),
        ("u2", {"max": 4095}, 0, 4095),
        ("u2", {"min": 100, "max": 4095}, 100, 4095),
        ("u2", {"smin": 7, "smax": 1023}, 7, 1023),
        ("i2", {"smin": -1000, "smax": 3000}, -1000, 3000),
        ("f4", {}, 0, 1),
        ("f8", {"smax": 9}, 0, 1),
        ("f2", {}, 0, 1),
    ],
)
def test_the_range_is_what_the_file_says(tmp_path, dtype, tags, low, high):
    values = (LAST % 100).astype(dtype)
    extra = [(TAGS[name], "h" if dtype == "i2" else "H", 1, value, True) for name, value in tags.items()]
    tifffile.imwrite(tmp_path / "a.tif", values, planarconfig="contig", photometric="minisblack", extratags=extra)
    wanted = np.moveaxis((values.astype(np.float64) - low) / (high - low), 2, 0)
    np.testing.assert_allclose(whole(tmp_path / "a.tif", 5), wanted, rtol=1e-5, atol=1e-9)


def test_channels_are_matched_as_in_8_bit_files(tmp_path):
    grey, colour, alpha = BANDS[0], LAST[..., :3], LAST[..., :4]
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    np.testing.assert_allclose(whole(tmp_path / "grey.tif", 3), np.stack([grey / 65535] * 3), rtol=1e-6)
    tifffile.imwrite(tmp_path / "colour.tif", colour, photometric="rgb")
    luminance = colour / 65535 @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(whole(tmp_path / "colour.tif", 1)[0], luminance, rtol=1e-5)
    tifffile.imwrite(tmp_path / "alpha.tif", alpha, photometric="rgb", extrasamples=["unassalpha"])
    share = alpha[..., 3:] / 65535
    on_white = np.moveaxis(colour / 65535 * share + 1 - share, 2, 0)
    np.testing.assert_allclose(whole(tmp_path / "alpha.tif", 3), on_white, rtol=1e-5)
    tifffile.imwrite(tmp_path / "inverted.tif", grey, photometric="miniswhite")
    np.testing.assert_allclose(whole(tmp_path / "inverted.tif", 1)[0], 1 - grey / 65535, atol=1e-6)
    with pytest.raises(BadSampleError, match="has 3 channels, not 5; ask for 3"):
        whole(tmp_path / "colour.tif", 5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_as_pillow_rotates(tmp_path, orientation):
    grey = (BANDS[0] >> 8).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", grey, extratags=[(274, "H", 1, orientation, True)])
    upright = Image.open(open(tmp_path / "a.tif", "rb"))  # by name, Pillow 13 turns a mapped file wrongly
    upright.load()
    np.testing.assert_allclose(whole(tmp_path / "a.tif", 1)[0], np.asarray(upright) / 255, rtol=1e-6)


def test_of_several_pages_the_first_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", BANDS[:3], photometric="minisblack", metadata={"axes": "ZYX"})
    np.testing.assert_allclose(whole(tmp_path / "a.tif", 1)[0], BANDS[0] / 65535, rtol=1e-6)


def test_a_folder_trains_with_its_own_channels_and_statistics(tmp_path):
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 4096, (32, 32, 5)).astype(np.uint16)
        tifffile.imwrite(tmp_path / f"{number}.tif", values, planarconfig="contig", photometric="minisblack")
    seen = survey(tmp_path)
    assert (seen.channels, seen.height, seen.dtype) == (5, 32, "float32")
    mean, std = measure(tmp_path)
    source = open_pictures(tmp_path, channels=5, transform=as_it_is, mean=mean, std=std)
    found = torch.stack([source.read(Key.of(index), generator(0)) for index in range(3)]).double()
    assert found.mean((0, 2, 3)).abs().max() < 1e-5 and (found.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-5
    model = image.model("mae", "tiny", image_size=32, patch_size=8, channels=5, mean=mean, std=std)
    (_, sample), *_ = image.samples(tmp_path, model)
    assert torch.equal(sample, source.read(Key.of(0), generator(0))) and model(sample[None]).loss.isfinite()


def test_8_bit_files_beside_deep_ones_have_the_same_units(tmp_path):
    grey = (BANDS[0] >> 8).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", grey.astype(np.uint16) * 257)
    Image.fromarray(grey).save(tmp_path / "b.png")
    source = open_pictures(tmp_path, channels=1, transform=as_it_is, mean=(0.5,), std=(0.25,))
    deep, eight = (source.read(Key.of(index), generator(0)) for index in range(2))
    torch.testing.assert_close(deep, eight)
    assert deep.dtype == torch.float32


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_no_numbers_are_a_bad_sample(tmp_path, value):
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8), value))
    with pytest.raises(BadSampleError, match="holds NaN or infinite values"):
        whole(tmp_path / "a.tif", 1)


def test_broken_and_huge_files_are_bad_samples(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", LAST, planarconfig="contig", photometric="minisblack", compression="zlib")
    content = (tmp_path / "a.tif").read_bytes()
    for number, broken in enumerate((content[:9], content[:-200], content[:200] + bytes(300) + content[500:])):
        (tmp_path / "b.tif").write_bytes(broken)
        with pytest.raises(BadSampleError, match="b.tif: cannot be decoded") as error:
            whole(tmp_path / "b.tif", 5)
        assert "\n" not in str(error.value), number
    monkeypatch.setenv("MASKKIT_SAMPLE_GIB", "1e-7")
    with pytest.raises(BadSampleError, match=r"decodes to .* GiB \(8x9x5 values\), more than the limit"):
        whole(tmp_path / "a.tif", 5)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.float32])
def test_grey_of_lzw_is_the_very_values_with_and_without_imagecodecs(tmp_path, kind):
    values = (BANDS[0].astype(np.float64) * 7 % 30_000).astype(kind)
    mode = {"uint16": "I;16", "int16": "I;16S", "float32": "F"}[values.dtype.name]
    image = Image.frombytes("I;16" if mode != "F" else "F", values.shape[::-1], values.tobytes())
    image.save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={339: 2} if kind is np.int16 else {})
    wanted = values / {"uint16": 65_535, "int16": 32_768, "float32": 1}[values.dtype.name]
    np.testing.assert_allclose(whole(tmp_path / "a.tif", 1)[0], wanted, rtol=1e-6)


def test_a_compression_that_needs_imagecodecs_says_so(tmp_path):
    Image.fromarray(BANDS[0]).save(tmp_path / "a.tif", compression="tiff_lzw", tiffinfo={274: 6})
    code = """
import sys
sys.modules["imagecodecs"] = None
from maskkit.data.tiff import read
read(open(sys.argv[1], "rb"), sys.argv[1], 1)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("a.tif: TIFF packed by LZW is unpacked by imagecodecs; pip install imagecodecs")
