"""Every example runs as it stands, in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_every_example_is_short_and_listed_here():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    assert names == {"01_digits.py", "02_new_modality.py", "03_video.py", "04_audio.py", "05_points.py"}
    assert all(len(path.read_text().splitlines()) < 80 for path in EXAMPLES.glob("*.py"))


@pytest.mark.slow
def test_digits(tmp_path):
    """The demo, cut to a few steps: what it prints and draws, twice (the second time it only shows)."""
    command = [sys.executable, str(EXAMPLES / "01_digits.py"), "--out", str(tmp_path / "demo"), "--steps", "30"]
    for _ in range(2):
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
        for row in ("raw pixels", "untrained encoder", "pretrained encoder", "squared error on hidden pixels"):
            assert row in result.stdout
    for picture in ("loss.png", "digits.png", "run-0/pictures/step-00000030.png"):
        with Image.open(tmp_path / "demo" / picture) as opened:
            assert min(opened.size) > 300


@pytest.mark.slow
def test_new_modality(tmp_path):
    command = [sys.executable, str(EXAMPLES / "02_new_modality.py"), "--out", str(tmp_path / "signals.png")]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    before, after = (float(line.split()[-1]) for line in result.stdout.splitlines()[:2])
    assert after < 0.5 * before
    assert (tmp_path / "signals.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("espeak", [True, False])
def test_audio(tmp_path, espeak):
    """The same with words from espeak-ng, where it is here, and with synthesised ones."""
    command = [sys.executable, str(EXAMPLES / "04_audio.py"), "--out", str(tmp_path / "demo"), "--steps", "3"]
    path = os.environ["PATH"] if espeak else ""
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=280, env=os.environ | {"PATH": path}
    )
    for row in ("mean spectrum", "untrained encoder", "pretrained encoder"):
        assert row in result.stdout
    assert len(list((tmp_path / "demo" / "heard").glob("*/*.wav"))) == 15 * 4 * 7
    with Image.open(tmp_path / "demo" / "words.png") as opened:
        assert min(opened.size) > 300


def test_video(tmp_path):
    """Cut to a few steps: a single frame says nothing of the direction, clips do."""
    command = [sys.executable, str(EXAMPLES / "03_video.py"), "--out", str(tmp_path / "moving"), "--steps", "60"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    rows = [line for line in result.stdout.splitlines() if "encoder" in line]
    scores = {line.rsplit(maxsplit=1)[0].strip(): float(line.split()[-1].rstrip("%")) for line in rows}
    assert len(scores) == 4
    for name, score in scores.items():
        assert 20 < score < 30 if "first frame" in name else score > 28  # chance is 25, give or take 1.4
    with Image.open(tmp_path / "moving" / "moving.png") as sheet:
        assert min(sheet.size) > 300
    assert (tmp_path / "moving" / "moving.gif").exists()


def test_points(tmp_path):
    command = [sys.executable, str(EXAMPLES / "05_points.py"), "--out", str(tmp_path / "shapes"), "--steps", "20"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=200)
    assert "untrained encoder" in result.stdout and "pretrained encoder" in result.stdout
    for picture in ("loss.png", "shapes.png"):
        with Image.open(tmp_path / "shapes" / picture) as opened:
            assert min(opened.size) > 300
    assert (tmp_path / "shapes" / "shapes.html").stat().st_size > 5000
