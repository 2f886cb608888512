"""The table of commands, old names, and modules with parts from outside."""

import os
import subprocess
import sys

import numpy as np
import pytest

from maskkit.cli import COMMANDS, RENAMED, main, one_line, overview
from maskkit.commands.words import import_modules
from maskkit.modalities import image
from maskkit.modality import modality_names


def said(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def test_help_speaks_of_all_modalities_and_commands():
    text = overview()
    assert all(name in text for name in modality_names())
    assert all(f"  {name} " in text for name in COMMANDS)
    assert not any(f"  {name} " in text for name in RENAMED)


@pytest.mark.parametrize("words", [["--help"], ["pretrain"], ["pretrain", "--help"], ["bench"]])
def test_help_needs_no_torch(words):
    code = f"import sys; from maskkit.cli import main; assert main({words}) == 0; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_names_work_and_say_the_new_one(old, new, capsys):
    code, out, err = said(capsys, old, "--help")
    assert code == 0 and err == f"maskkit {old} is now maskkit {new}; the old name will be removed\n"
    assert said(capsys, new, "--help") == (0, out, "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["pretrain", "smells"],
            "maskkit cannot pretrain on 'smells'; use maskkit pretrain {audio,image",
        ),
        (["pretrain", "image", "--import"], "--import needs a value"),
        (["pretrain", "image", "--import", "no_such_module"], "there is no module no_such_module"),
        (["transcode", "smells"], "maskkit cannot transcode 'smells'"),
        (["transcode", "image", "a", "b"], "image files are not transcoded"),
        (["bench", "nothing"], "there is no benchmark 'nothing'; there are step"),
        (["bench", "step", "--all"], "add --against REV"),
        (["bench", "step", "--repeats", "0"], "--repeats must be at least 1, got 0"),
        (["bench", "data", "--work", "points"], "points has no comparison of readers"),
        (["pack", ".", "out", "--only", "smells"], "--only must be one of audio, image"),
        (["pack", ".", "out", "--size-mb", "0"], "--size-mb must be at least 1, got 0"),
        (["reconstruct", "run", "--out", "x.png"], "reconstruct needs at least one input"),
        (["probe", "run", "--data", "x", "--per-class", "0"], "--per-class must be at least 1, got 0"),
        (["export", "run", "--out", "x.safetensors", "--import", "no.such"], "there is no module no;"),
    ],
)
def test_wrong_words_are_one_line(words, message, capsys):
    code, _, err = said(capsys, *words)
    assert code == 2 and message in err and len(err.splitlines()) == 1


FLAGS = ["pretrain", "image", "--out", "o", "--data", "d"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*FLAGS, "--no-flip"], "--no-flip (did you mean --flip?); see maskkit pretrain image --help"),
        ([*FLAGS, "--batchh", "3"], "--batchh, 3 (did you mean --batch?); see"),
        ([*FLAGS, "--batch", "x"], "--batch x: the value must be INT; see"),
        ([*FLAGS, "--batch"], "Missing value for argument"),
        ([*FLAGS, "--size", "giant"], "invalid choice 'giant' for argument '--size'"),
        ([*FLAGS, "--method", "simmim", "--unit", "0"], "unit must"),
        (["pack", "d", ""], "an argument of maskkit pack is empty"),
        (["export", "run", "--out", ""], "an argument of maskkit export is empty"),
        (["pretrain", "image", "--data", "d", "--out", ""], "--out is empty; name the folder"),
        ([*FLAGS, "--import", ""], "--import needs the name of a module, such as my_parts, got ''"),
        ([*FLAGS, "--import", ".."], "--import needs the name of a module, such as my_parts, got '..'"),
        (["pretrain", "image"], "--out, --data must be given; see maskkit pretrain image --help"),
        (["probe"], "MODEL, --data must be given; see maskkit probe --help"),
        (["embed", "run"], "--data, --out must be given; see maskkit embed --help"),
        (["export", "run", "--layout", "nothing"], "invalid choice 'nothing' for argument '--layout'"),
        (["methods", "image", "--yaml"], "--yaml; see maskkit methods --help"),
        (["bench", "step", "--nothing"], "--nothing; see maskkit bench step --help"),
    ],
)
def test_flags_that_cannot_be_parsed_are_one_line(words, message, capsys):
    code, _, err = said(capsys, *words)
    assert code == 2 and message in err and err.startswith("maskkit: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize("words", ["--help", "bench", "methods", "pretrain image --help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_ends_early_is_no_error(words, unbuffered):
    code = f"import sys; from maskkit.cli import main; sys.exit(main({words.split()}))"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    running = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    running.stdout.close()
    assert running.stderr.read() == "" and running.wait() == 141


@pytest.mark.parametrize("redirect", [">&- 2>&-", ">&-", "2>&-", "2>/dev/full"])
@pytest.mark.parametrize(("words", "code"), [("nothing", 2), ("--help", 0)])
def test_closed_and_full_streams_keep_the_exit_code(redirect, words, code):
    command = f"{sys.executable} -m maskkit.cli {words} {redirect}"
    found = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert found.returncode == code and "Traceback" not in found.stderr


def test_an_error_is_one_line_whatever_it_holds():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(FileNotFoundError(2, "No such file", "x.png")) == "x.png: No such file"
    assert "free some space" in one_line(OSError(28, "No space left on device", "x.png"))


PARTS = """
from dataclasses import dataclass
from maskkit.maskers import Uniform
from maskkit.parts import part

@part
@dataclass(frozen=True)
class {name}:
    ratio: float = 0.5
    def __call__(self, tokens, rng=None):
        return Uniform(ratio=self.ratio)(tokens, rng)
"""

RUN = """
from dataclasses import dataclass, replace
import sys
import maskkit.modalities.image as image
import outside_parts
from maskkit import weights
from maskkit.engine.loop import pretrain
from maskkit.engine.run import Pretrain

class Settings(image.MAE):
    def build(self):
        return image.mae("tiny", image_size=8, patch_size=2, channels=1, masker=outside_parts.OutsideMasker())

data = image.Data(root=sys.argv[1], min_scale=1, flip=False)
pretrain(Pretrain(model=Settings(), data=data, out=sys.argv[2], steps=1, batch=4, workers=0), image)
"""


@pytest.mark.slow
def test_a_run_with_parts_from_outside_opens_with_import(tmp_path):
    """In processes of their own, since a module that was imported once stays."""
    (tmp_path / "outside_parts.py").write_text(PARTS.format(name="OutsideMasker"))
    (tmp_path / "train.py").write_text(RUN.replace("out=sys.argv[2]", "out=__import__('pathlib').Path(sys.argv[2])"))
    pixels, labels = image.digits()
    np.savez(tmp_path / "digits.npz", images=pixels[:40], labels=labels[:40])
    subprocess.run([sys.executable, "train.py", "digits.npz", "run"], check=True, cwd=tmp_path, capture_output=True)

    def maskkit(*words):
        command = [sys.executable, "-m", "maskkit.cli", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    alone = maskkit("export", "run", "--out", "a.safetensors")
    assert alone.returncode == 2 and "import outside_parts first (--import outside_parts)" in alone.stderr
    with_it = maskkit("export", "run", "--out", "a.safetensors", "--import", "outside_parts")
    assert with_it.returncode == 0, with_it.stderr
    assert (tmp_path / "a.safetensors").exists()


def test_import_says_what_a_module_lacks(tmp_path, monkeypatch):
    (tmp_path / "needs_more.py").write_text("import not_here_at_all\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="--import needs_more failed: No module named 'not_here_at_all'"):
        import_modules(("needs_more",))
    (tmp_path / "half.py").write_text("x = (\n")
    with pytest.raises(ValueError, match="--import half failed: .* in .*half.py, line 1; correct it"):
        import_modules(("half",))
    (tmp_path / "fine_module.py").write_text("FINE = 1\n")
    import_modules(("fine_module",))
    assert sys.modules["fine_module"].FINE == 1
