"""Files are written whole or not at all, looked at before they are opened, and their errors fit into one line."""

import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from maskkit.files import BadSampleError, check_readable, parse_json, read_json, short_reason, whole_file, whole_files


def test_a_reader_sees_the_old_contents_until_the_new_ones_are_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old" and aside.parent == tmp_path
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_old_contents_stay_and_nothing_else(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as aside:
        aside.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("write", [whole_file, whole_files])
def test_an_error_of_writing_names_the_file_of_the_user(tmp_path, write):
    def fill(aside):
        with open("/dev/full", "w") as full:  # its errors name no file, as those of a full disk
            full.write("x")

    def lose(aside):
        (aside / "deeper" / "x").write_text("x")

    for fail in (fill, lose):
        with pytest.raises(OSError) as error, write(tmp_path / "a.txt") as aside:
            fail(aside)
        assert error.value.filename == str(tmp_path / "a.txt") and not list(tmp_path.iterdir())


def test_a_writer_that_writes_nothing_fails(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    assert not os.listdir(tmp_path)


def test_a_folder_is_written_whole_too(tmp_path):
    with whole_file(tmp_path / "frames") as aside:
        (aside / "deep").mkdir(parents=True)
        (aside / "deep" / "0.jpg").write_bytes(b"x")
    with pytest.raises(ValueError), whole_file(tmp_path / "others") as aside:
        aside.mkdir()
        (aside / "0.jpg").write_bytes(b"x")
        raise ValueError
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == [
        *("frames", "frames/deep", "frames/deep/0.jpg")
    ]


def test_a_writer_that_is_killed_leaves_the_old_contents(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    code = (
        "import os, pathlib, sys; from maskkit.files import whole_file\n"
        "with whole_file(pathlib.Path(sys.argv[1])) as aside: aside.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == -9
    assert path.read_text() == "old"


def test_two_processes_that_write_one_file_leave_one_whole_version(tmp_path):
    code = (
        "import pathlib, sys; from maskkit.files import whole_file\n"
        "for turn in range(50):\n"
        "    with whole_file(pathlib.Path(sys.argv[1])) as aside: aside.write_text(sys.argv[2] * 100_000)"
    )
    path = tmp_path / "a.txt"
    writers = [subprocess.Popen([sys.executable, "-c", code, path, letter]) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            assert path.read_text() in ("a" * 100_000, "b" * 100_000)
    assert [writer.returncode for writer in writers] == [0, 0] and os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(13, "Permission denied", "a"), "permission denied"),
        (OSError("One line.\n  Another."), "One line. Another"),
        (ValueError(), "ValueError"),
        (RuntimeError("\n\nbehind an empty line\n"), "behind an empty line"),
    ],
)
def test_a_reason_is_one_line(error, reason):
    assert short_reason(error) == reason


def test_a_reason_has_an_end():
    reason = short_reason(ValueError("x" * 5000))
    assert reason.startswith("x" * 200) and len(reason) < 220


@pytest.mark.parametrize("reason", ["first line\nsecond line", "line " * 100])
def test_the_reason_of_a_bad_sample_is_one_short_line(reason):
    error = pickle.loads(pickle.dumps(BadSampleError("a.obj", reason)))
    assert len(error.reason.splitlines()) == 1 and len(error.reason) < 300 and reason[:5] in str(error)


def test_what_cannot_be_read_is_told_before_it_is_opened(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "good").write_text("x")
    check_readable(str(tmp_path / "good"))
    reasons = {}
    for name in ("nothing", "empty", "pipe", ".", "null\0byte"):
        with pytest.raises(BadSampleError) as caught:
            check_readable(str(tmp_path / name), "recording")
        reasons[name] = caught.value.reason
    assert reasons == {
        "nothing": "no such file or directory",
        "empty": "empty file",
        "pipe": "not an ordinary file",
        ".": "a folder, not a recording",
        "null\0byte": "cannot be opened: embedded null byte",
    }


def test_a_bad_sample_crosses_processes():
    copy = pickle.loads(pickle.dumps(BadSampleError("a.jpg", "empty file")))
    assert (copy.path, copy.reason, str(copy)) == ("a.jpg", "empty file", "a.jpg: empty file")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 1: Expecting property name"),
        ("", "line 1: Expecting value"),
        ("[" * 100_000, "nested deeper than 100 levels"),
        ("[" * 200 + "]" * 200, "nested deeper than 100 levels"),
        ('{"a":' * 50_000, "nested deeper than 100 levels"),
        ("9" * 10_000, "Exceeds the limit"),
        (b'{"a": "\xff"}', "byte 7 is not UTF-8"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
    ],
)
def test_whatever_is_no_json_has_one_short_reason(tmp_path, text, reason):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=reason) as caught:
        read_json(tmp_path / "a.json", unique_keys=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_json_of_a_sensible_depth_is_read():
    assert parse_json("[" * 100 + "]" * 100) and parse_json(b'\xef\xbb\xbf{"a": 1, "a": 2}') == {"a": 2}


def test_no_other_function_reads_json():
    """Python's own raises RecursionError and others for texts that are nested too deep or no text at all."""
    root = Path(__file__).parents[1]
    files = [file for folder in ("maskkit", "modalities") for file in (root / folder).rglob("*.py")]
    reading = {file.relative_to(root).as_posix() for file in files if re.search(r"json\.loads?\(", file.read_text())}
    written_here = {"maskkit/engine/run.py"} | {f"maskkit/bench/{name}.py" for name in ("worker", "revisions", "loop")}
    assert reading == {"maskkit/files.py"} | written_here
