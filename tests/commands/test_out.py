"""Files that commands write: whole or not at all, under the name that was given, and equal for equal runs."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maskkit import weights
from maskkit.bench.timing import write_record
from maskkit.cli import main
from maskkit.modalities import image
from maskkit.weights.files import read_metadata
from tests.commands.test_commands import pictures, run  # noqa: F401

COMMANDS = {
    "embed": (["embed", "RUN", "--data", "DATA"], "f.npz"),
    "probe": (["probe", "RUN", "--data", "DATA"], "p.json"),
    "reconstruct": (["reconstruct", "RUN", "DATA", "--limit", "2"], "r.png"),
    "export": (["export", "RUN"], "w.safetensors"),
}


@pytest.fixture
def small(run, pictures):  # noqa: F811
    """Fills a run and a few samples into the words of a command, and adds --out."""

    def fill(name, out):
        places = {"RUN": str(run), "DATA": str(pictures / "3")}
        return [*(places.get(word, word) for word in COMMANDS[name][0]), "--out", str(out)]

    return fill


@pytest.mark.parametrize("name", COMMANDS)
def test_what_cannot_be_written_is_told_in_one_line_before_the_work(small, tmp_path, capsys, monkeypatch, name):
    file = COMMANDS[name][1]
    (tmp_path / "a file").write_text("kept")
    (tmp_path / f"folder{os.path.splitext(file)[1]}").mkdir()
    monkeypatch.setattr("maskkit.model.MaskedModel.encode", lambda *_: pytest.fail("the model ran"))
    for out, reason in (
        (tmp_path / f"folder{os.path.splitext(file)[1]}", "is a folder; name a file in it"),
        (tmp_path / "a file" / file, f"{tmp_path}/a file is a file, not a folder"),
        (f"/proc/{file}", "/proc: no permission to write there"),
    ):
        monkeypatch.setattr("os.access", lambda path, mode, real=os.access: str(path) != "/proc" and real(path, mode))
        assert main(small(name, out)) == 2
        said = capsys.readouterr().err
        assert reason in said and said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", f"folder{os.path.splitext(file)[1]}"]


def test_a_suffix_in_capitals_is_kept(small, tmp_path, capsys):
    for name in ("embed", "reconstruct"):
        out = tmp_path / "new folder" / COMMANDS[name][1].upper()
        assert main(small(name, out)) == 0 and str(out) in capsys.readouterr().out
        assert out.stat().st_size > 1000
    assert sorted(path.name for path in (tmp_path / "new folder").iterdir()) == ["F.NPZ", "R.PNG"]


def test_folders_that_cannot_be_written_to(pictures, tmp_path, capsys):  # noqa: F811
    (tmp_path / "a file").write_text("kept")
    for words in (["pack"], ["transcode", "video"]):
        for out in (tmp_path / "a file", tmp_path / "a file" / "deeper"):
            source = pictures if words == ["pack"] else make_gif(tmp_path / "videos")
            assert main([*words, str(source), str(out), *(["--store", "frames"] if "video" in words else [])]) == 2
            assert f"{tmp_path}/a file is a file, not a folder; choose another" in capsys.readouterr().err


def make_gif(folder):
    folder.mkdir(exist_ok=True)
    Image.new("L", (16, 16)).save(folder / "a.gif")
    return folder


@pytest.mark.parametrize(
    ("name", "breaks"),
    [("embed", "numpy.lib.format.write_array"), ("reconstruct", "PIL.Image.Image.save"), ("probe", "json.dumps")],
)
def test_a_failure_leaves_the_old_file_and_no_half_one(small, tmp_path, monkeypatch, capsys, name, breaks):
    out = tmp_path / COMMANDS[name][1]
    out.write_text("old")

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(breaks, fail)
    assert main(small(name, out)) == 2
    assert os.listdir(tmp_path) == [out.name] and out.read_text() == "old"


def test_a_model_written_over_a_folder_is_told_by_its_own_name(tmp_path):
    (tmp_path / "w.safetensors" / "inside").mkdir(parents=True)
    with pytest.raises(OSError) as error:
        weights.save(image.tiny(), tmp_path / "w.safetensors")
    assert error.value.filename == str(tmp_path / "w.safetensors") and os.listdir(tmp_path) == ["w.safetensors"]


WRITE = """
import sys, pathlib, numpy, torch
from maskkit import weights
from maskkit.cli import main
from maskkit.modalities import image
out = pathlib.Path(sys.argv[1])
words = ["pretrain", "image", "--data", sys.argv[2], "--out", str(out / "run"), "--steps", "2", "--batch", "8"]
assert main([*words, "--workers", "0", "--device", "cpu", "--save-every", "1"]) == 0
for name in ("a.pth", "a.safetensors", "folder"):
    assert main(["export", str(out / "run"), "--layout", "hf", "--out", str(out / name)]) == 0
assert main(["embed", str(out / "run"), "--data", sys.argv[2], "--out", str(out / "f.npz"), "--workers", "0"]) == 0
assert main(["pack", sys.argv[2], str(out / "tars")]) == 0
"""


@pytest.mark.parametrize(
    "words",
    [
        ["export", "RUN", "--layout", "hf", "--out", "RUN"],
        ["export", "RUN", "--out", "RUN"],
        ["probe", "RUN", "--data", "x", "--out", "RUN/config.json"],
    ],
)
def test_the_files_of_a_run_are_not_written_over(tmp_path, words, capsys):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert main([word.replace("RUN", str(folder)) for word in words]) == 2
    assert "of a run" in (said := capsys.readouterr().err) and "choose another" in said
    assert (folder / "config.json").read_text() == "{}" and not (folder / "model.safetensors").exists()


def test_equal_runs_write_equal_bytes(pictures, tmp_path, monkeypatch):  # noqa: F811
    found = []
    for name in ("here", "there"):
        out = tmp_path / name
        out.mkdir()
        words = [str(out), str(pictures / "3")]
        if name == "here":
            monkeypatch.setattr(sys, "argv", ["write", *words])
            exec(WRITE, {})
        else:
            subprocess.run([sys.executable, "-c", WRITE, *words], check=True, env={**os.environ, "PYTHONHASHSEED": "1"})
        files = [path for path in sorted(out.rglob("*")) if path.is_file() and _is_model_or_data(path)]
        found.append({str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files})
    assert len(found[0]) == 11 and found[0] == found[1]
    assert read_metadata(tmp_path / "here" / "a.safetensors") == {"format": "pt", "layout": "hf"}


def _is_model_or_data(path):
    """Leave out what holds times: metrics and their length in manifests, the command, TensorBoard's events."""
    inside_run = "run" in path.parts
    return path.suffix in (".safetensors", ".png") or not inside_run


def test_records_of_benchmarks_are_written_whole(tmp_path):
    write_record(tmp_path / "a.json", {"a": 1})
    with pytest.raises(TypeError):
        write_record(tmp_path / "a.json", {"a": np.zeros(3)})
    assert os.listdir(tmp_path) == ["a.json"] and (tmp_path / "a.json").read_text() == '{\n  "a": 1\n}\n'
