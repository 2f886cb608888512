"""Names and texts from files and servers reach no terminal as they are: one line, without control characters."""

import contextlib
import io
import logging
import re
import subprocess
import sys

import pytest
from PIL import Image

from maskkit.cli import main, run_recipe
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError
from maskkit.engine.log import Log
from maskkit.modalities.video.transcode import transcode
from maskkit.printing import printable, say, tell

EVIL = "a\x1b]0;owned\x07\x1b[2J\n\tb\r\x9b31m\u202ec\u2066d\u2028e\x85f"
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028]")


def is_clean(text, lines):
    return not CONTROL.search(text) and "\t" not in text and text.count("\n") == lines == len(text.splitlines())


def test_control_characters_are_escapes_and_letters_stay():
    assert printable(EVIL) == (
        r"a\x1b]0;owned\x07\x1b[2J\n\tb\r\x9b31m\u202ec\u2066d\u2028e\x85f"  # as Python writes them
    )
    for plain in ("grün \u3000 写真 👩\u200d🔬.png", "[red]a\\b", "\udcff"):
        assert printable(plain) == plain


def test_what_the_terminal_cannot_write_is_an_escape(monkeypatch):
    for stream, write in (("stdout", tell), ("stderr", say)):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, stream, io.TextIOWrapper(raw, encoding="ascii"))
        write("ü \udcff")
        assert raw.getvalue() == b"\\xfc \\udcff\n"


def test_the_log_of_a_run_and_of_libraries(tmp_path, capsys):
    with Log(tmp_path / "metrics.jsonl", tmp_path / "board", steps=1, start=0) as log:
        log.say(f"left out {EVIL}")
    assert is_clean(capsys.readouterr().err, 1)
    code = "import logging, sys; from maskkit.cli import main; main([]); logging.getLogger('x').warning(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", code, EVIL], capture_output=True, check=True)
    assert is_clean(done.stderr.decode(), 1)
    assert logging.lastResort is not None


@pytest.mark.parametrize(
    "words",
    [
        ["pretrain", "image", "--data", f"{EVIL}.png"],
        ["embed", EVIL, "--data", "x", "--out", "x.npz"],
        ["export", "x", "--out", EVIL],
        ["pack", f"{EVIL}/*.jpg", "out"],
        [EVIL],
        ["pretrain", "image", "--import", EVIL],
    ],
)
def test_errors_of_commands(words, capsys):
    assert main(words) == 2
    assert is_clean(capsys.readouterr().err, 1)


def test_errors_of_recipes_and_tracebacks(capsys):
    def body():
        raise ValueError(EVIL)

    with contextlib.suppress(SystemExit):
        run_recipe(body)
    assert is_clean(capsys.readouterr().err, 1)
    main(["pack", EVIL, "out", "--debug"])
    text = capsys.readouterr().err
    assert "Traceback" in text and not CONTROL.search(text)


def test_packing_and_transcoding_of_odd_names(tmp_path, capsys):
    for folder, suffix in (("pictures", ".png"), ("videos", ".gif")):
        (tmp_path / folder).mkdir()
        Image.new("L", (16, 16)).save(tmp_path / folder / f"whole{suffix}")
        (tmp_path / folder / f"{EVIL}{suffix}").write_bytes(b"")
    assert main(["pack", str(tmp_path / "pictures"), str(tmp_path / EVIL)]) == 0
    said = capsys.readouterr()
    assert is_clean(said.err, 1) and "left out" in said.err and is_clean(said.out, 1)
    transcode(str(tmp_path / "videos"), tmp_path / "out", store="frames")
    assert is_clean((tmp_path / "out" / "skipped.txt").read_text().replace("\t", " ", 1), 1)


def test_a_bad_sample_is_one_line_of_skipped_txt(tmp_path):
    error = BadSampleError(EVIL, "first line\n  second\x1b[2J line\u2028third")
    assert error.reason == "first line second\x1b[2J line third"
    skips = Skips(total=100, file=tmp_path / "skipped.txt")
    skips.add([(error.path, error.reason), ("b\udcff.png", "two\nlines")])
    raw = (tmp_path / "skipped.txt").read_bytes()
    assert [line.count(b"\t") for line in raw.splitlines()] == [1, 1] and raw.endswith(b"b\xff.png\ttwo lines\n")
    assert is_clean(raw.decode(errors="replace").replace("\t", " "), 2)
    again = Skips(total=100, file=tmp_path / "skipped.txt")
    again.take_up(tmp_path / "skipped.txt", len(raw), print)
    again.add([(error.path, error.reason)])  # known
    assert again.seen == skips.seen and (tmp_path / "skipped.txt").read_bytes() == raw
