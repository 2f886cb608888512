"""``maskkit pretrain video`` on real files, and what follows it."""

import json

import numpy as np
import pytest
from commands import restored, settings_of
from PIL import Image

from maskkit.cli import main
from maskkit.modalities import video
from maskkit.modalities.video.fit import fitting_patch, fitting_size
from maskkit.modalities.video.survey import fitting_stride
from tests.modalities.video.conftest import make


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("data")
    for label, filters in (("plain", "null"), ("mirrored", "hflip"), ("dark", "eq=brightness=-0.4")):
        (place / label).mkdir()
        for number in range(3):
            words = ("-vf", f"{filters},rotate={number}", "-c:v", "libx264", "-pix_fmt", "yuv420p")
            make(place / label / f"{number}.mp4", *words, size="80x64", seconds=1)
    (place / "plain" / "broken.mp4").write_bytes(b"no video")
    return place


def words(*items) -> list[str]:
    return [str(item) for item in items]


@pytest.mark.slow
def test_from_a_folder_to_features(folder, tmp_path, capsys):
    run = tmp_path / "run"
    small = ("--frames", 8, "--image-size", 32, "--patch-size", 16, "--batch", 4, "--workers", 1, "--max-bad", 0.2)
    started = ("pretrain", "video", "--data", folder, "--out", run, *small, "--steps", 6, "--log-every", 1)
    assert main(words(*started, "--precision", "fp32", "--repeats", 2)) == 0
    said = capsys.readouterr().err
    assert "10 videos of about 25 frames, 25 a second, 64 x 80 pixels, 3 channels, read by pyav" in said
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7)) and all(np.isfinite(line["loss"]) for line in lines)
    assert lines[-1]["epoch"] == pytest.approx(6 * 4 / 20, abs=1e-3)  # each of ten videos counts twice
    assert "broken.mp4" in (run / "skipped.txt").read_text()
    with Image.open(run / "pictures" / "step-00000006.png") as sheet:
        assert min(sheet.size) > 300
    assert (run / "pictures" / "step-00000006.gif").exists()

    clip = folder / "plain" / "0.mp4"
    assert main(words("reconstruct", run, clip, "--out", tmp_path / "clip.gif")) == 0
    assert main(words("embed", run, "--data", folder, "--out", tmp_path / "features.npz")) == 0
    with np.load(tmp_path / "features.npz") as found:
        assert found["features"].shape == (9, 192) and set(found["labels"]) == {"plain", "mirrored", "dark"}
    for layout, name in (("videomae", "authors.pth"), ("hf", "hf")):
        assert main(words("export", run, "--layout", layout, "--out", tmp_path / name)) == 0
    assert main(words(*started[:6], "--resume", "--steps", 8)) == 0
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 8


def test_settings_are_written_and_read_again(folder, tmp_path):
    for method, size, crop in (("videomae", "small", "multi-scale"), ("mae-st", "base", "resized")):
        words = ["--data", folder, "--out", tmp_path, "--fps", 5.0]
        settings = settings_of(video, *words, "--method", method, "--size", size)
        assert restored(video, settings) == settings
        assert (settings.model.name, settings.model.size, settings.data.crop) == (method, size, crop)
        assert settings_of(video, *words, "--preset", f"{method}-{size}") == settings  # the first version's word


def test_a_huge_mae_st_has_patches_of_14(folder, tmp_path):
    for method, size, patch in (("mae-st", "large", 16), ("mae-st", "huge", 14), ("videomae", "huge", 16)):
        words = ["--data", folder, "--out", tmp_path, "--image-size", 224, "--method", method, "--size", size]
        assert settings_of(video, *words).model.patch_size == patch


def test_defaults_fit_the_videos():
    assert [fitting_stride(length, 16) for length in (300, 64, 40, 10)] == [4, 4, 2, 1]
    assert fitting_patch(224) == 16 and fitting_patch(112) == 8 and fitting_patch(224, most=16) == 14
    facts = video.survey.Survey(count=1, frames=9, rate=25, height=30, width=41, channels=3, decoder="decord")
    assert fitting_size(facts) == 30


def test_contradictions_are_refused(folder):
    tokenizer = video.patches(16, frames=8, image_size=32)
    with pytest.raises(ValueError, match="does not mirror"):
        video.Data(root=str(folder), flip=True).open(tokenizer, train=True)
    with pytest.raises(ValueError, match="one of stride, fps and seconds"):
        video.Data(root=str(folder), fps=2.0, seconds=1.0).open(tokenizer, train=True)
    with pytest.raises(ValueError, match="say where the videos are"):
        video.Data().open(tokenizer, train=True)
    with pytest.raises(ValueError, match="method videomae on video has no setting pred_t_dim"):
        video.model("videomae", pred_t_dim=8)
    for mask in ("tube", "uniform", "frame"):
        model = video.VideoMAE(size="tiny", frames=8, image_size=(32, 32), mask=mask, mask_ratio=0.5).build()
        assert mask in type(model.masker).__name__.lower()
