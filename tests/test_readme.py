"""What the README says can be done is done here, word for word."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language):
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)
    assert found
    return found


@pytest.mark.parametrize("block", blocks("python"))
def test_python_blocks_run(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})


@pytest.mark.slow
def test_commands_run(tmp_path):
    """The block about one's own pictures, with a folder of pictures and few steps."""
    (block,) = [block for block in blocks("console") if "maskkit pretrain" in block]
    rng = np.random.default_rng(0)
    for number in range(20):
        for folder in (tmp_path / "my/pictures", tmp_path / "my/labelled" / "ab"[number % 2]):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(folder / f"{number}.jpg")
    shutil.copy(tmp_path / "my/pictures/0.jpg", tmp_path / "my/pictures/some.jpg")
    commands = [line for line in block.splitlines() if line.startswith("maskkit")]
    assert len(commands) >= 4
    for command in commands:
        words = command.split() + (["--steps", "2"] if "pretrain" in command else [])
        subprocess.run([sys.executable, "-m", "maskkit.cli", *words[1:]], cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "picture.png").exists() and (tmp_path / "encoder.safetensors").exists()


def test_every_file_named_exists():
    for name in re.findall(r"`((?:examples|recipes|docs|tests)/[\w./]+)`", TEXT) + re.findall(
        r"\]\((docs/.*?)\)", TEXT
    ):
        assert (ROOT / name).exists(), name
