"""``maskkit pack``: files go into shards as they are, and come out of them as they were."""

import errno
import json
import os
import subprocess
import sys
import tarfile

import numpy as np
import pytest

from maskkit.cli import main
from maskkit.data.find import find_files
from maskkit.data.shards.pack import pack

SUFFIXES = (".jpg", ".nii.gz", ".gz")


def make(root, names):
    """Write files of random bytes, as a dict of their contents."""
    rng, written = np.random.default_rng(0), {}
    for name in names:
        written[name] = rng.bytes(int(rng.integers(1, 3000)))
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(written[name])
    return written


def packed(root, out, *, size=10**9, seed=0, suffixes=SUFFIXES, said=None):
    return pack(find_files(root, suffixes), suffixes, out, size=size, seed=seed, say=(said or []).append)


def contents(out, suffixes=SUFFIXES):
    files = find_files(out, suffixes)
    found = []
    for index in range(len(files)):
        with files.open(index) as file:
            found.append((file.read(), files.label(index), files.path(index).rpartition("/")[2]))
    return found


def test_everything_comes_out_as_it_went_in(tmp_path):
    names = [f"{label}/{number}.jpg" for label in ("cat", "dog café") for number in range(20)]  # equal names
    names += ["cat/scan.v2.nii.gz", "cat/UPPER.JPG"]
    written = make(tmp_path / "in", names)
    result = packed(tmp_path / "in", tmp_path / "out", size=12_000)
    found = contents(tmp_path / "out")
    assert sorted((data, label) for data, label, _ in found) == sorted(
        (data, name.split("/")[0]) for name, data in written.items()
    )
    assert len({member for _, _, member in found}) == 42
    assert {member.split("-", 1)[1] for _, _, member in found} >= {"7.jpg", "scan_v2.nii.gz", "UPPER.jpg"}
    shards = sorted((tmp_path / "out").glob("*"))
    assert [shard.name for shard in shards] == ["counts.json", *(f"shard-{n:06d}.tar" for n in range(result.shards))]
    assert result.shards > 3 and all(8_000 < shard.stat().st_size < 24_000 for shard in shards[1:-1])
    assert result.samples == {".jpg": 41, ".nii.gz": 1} and result.left_out == 0


def test_the_counts_are_those_that_counting_finds(tmp_path):
    make(tmp_path / "in", [f"{number}.jpg" for number in range(50)] + ["a.nii.gz"])
    packed(tmp_path / "in", tmp_path / "out", size=12_000)
    with_counts = find_files(tmp_path / "out", SUFFIXES)
    (tmp_path / "out" / "counts.json").unlink()
    without = find_files(tmp_path / "out", SUFFIXES)
    assert with_counts.counts.tolist() == without.counts.tolist() and len(with_counts) == 51
    assert with_counts.counted.all() and not without.counted.any()
    assert len(find_files(tmp_path / "out", (".nii.gz",))) == 1


def test_python_tarfile_reads_them_and_keys_follow_webdatasets_rule(tmp_path):
    make(tmp_path / "in", ["cat/a.b.jpg", "cat/c.jpg", "dog/a.b.jpg"])
    packed(tmp_path / "in", tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        names = tar.getnames()
    keys = [name.split(".", 1) for name in names]
    assert [kind for _, kind in keys] == ["jpg", "cls"] * 3
    assert [key for key, _ in keys[::2]] == [key for key, _ in keys[1::2]] and len({key for key, _ in keys}) == 3


def test_the_same_seed_gives_the_same_bytes_and_another_another_order(tmp_path):
    make(tmp_path / "in", [f"{number}.jpg" for number in range(40)])
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        packed(tmp_path / "in", tmp_path / name, seed=seed, size=20_000)
    one, same, other = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "same", "other")
    )
    assert one == same and one != other
    members = [member for _, _, member in contents(tmp_path / "one")]
    assert members != sorted(members)
    assert sorted(members) == sorted(member for _, _, member in contents(tmp_path / "other"))


def test_lists_give_labels_and_shards_can_be_packed_anew(tmp_path):
    written = make(tmp_path, ["1.jpg", "2.jpg", "3.jpg"])
    (tmp_path / "list.txt").write_text("1.jpg cat\n2.jpg dog\n3.jpg\n")
    packed(tmp_path / "list.txt", tmp_path / "a")
    packed(tmp_path / "a", tmp_path / "b", seed=3)
    found = {data: label for data, label, _ in contents(tmp_path / "b")}
    assert found == {written["1.jpg"]: "cat", written["2.jpg"]: "dog", written["3.jpg"]: None}


def test_what_cannot_be_read_is_left_out_and_named(tmp_path):
    make(tmp_path, [f"in/{number}.jpg" for number in range(5)])
    (tmp_path / "in" / "empty.jpg").touch()
    (tmp_path / "in" / "gone.jpg").symlink_to("nowhere")
    said = []
    files = find_files(tmp_path / "in", SUFFIXES)
    result = pack(files, SUFFIXES, tmp_path / "out", size=10**9, seed=0, say=said.append)
    assert result.left_out == 2 and result.samples == {".jpg": 5} and len(contents(tmp_path / "out")) == 5
    assert sorted(said) == [
        f"left out {tmp_path}/in/empty.jpg: empty file",
        f"left out {tmp_path}/in/gone.jpg: no such file or directory",
    ]


def test_a_list_of_other_suffixes_says_why_nothing_is_packed(tmp_path):
    make(tmp_path, ["a.xyz", "b.xyz"])
    (tmp_path / "list.txt").write_text("a.xyz\nb.xyz\n")
    with pytest.raises(ValueError, match="none of 2 files can be read, so nothing was packed"):
        packed(tmp_path / "list.txt", tmp_path / "out")
    assert not [*(tmp_path / "out").iterdir()]


def test_shards_that_are_there_are_not_touched(tmp_path):
    make(tmp_path / "in", ["a.jpg"])
    packed(tmp_path / "in", tmp_path / "out")
    before = (tmp_path / "out" / "shard-000000.tar").read_bytes()
    with pytest.raises(ValueError, match="out already holds shards; delete them or choose another folder"):
        packed(tmp_path / "in", tmp_path / "out", seed=1)
    assert (tmp_path / "out" / "shard-000000.tar").read_bytes() == before


def test_a_full_disk_leaves_whole_shards_only(tmp_path):
    make(tmp_path / "in", [f"{number:02d}.jpg" for number in range(60)])
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))\n"
        "from maskkit.data.find import find_files\nfrom maskkit.data.shards.pack import pack\n"
        "try:\n"
        "    pack(find_files(sys.argv[1], ['.jpg']), ['.jpg'], __import__('pathlib').Path(sys.argv[2]),"
        " size=60_000, seed=0, say=print)\n"
        "except OSError as error:\n    print(error.errno)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "in"), str(tmp_path / "out")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str(errno.EFBIG)  # the limit's word for a full disk
    assert not [*(tmp_path / "out").iterdir()]


class TestCommand:
    def said(self, capsys, *words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    def test_packs_and_says_how_to_name_the_shards(self, tmp_path, capsys):
        make(tmp_path / "in", [f"{number % 2}/{number}.png" for number in range(30)])
        code, out, err = self.said(capsys, "pack", tmp_path / "in", tmp_path / "out", "--only", "image")
        assert code == 0 and out == f"{tmp_path}/out/shard-000000.tar: 30 samples (30 .png), 0 left out\n"
        make(tmp_path / "large", [f"{number}.png" for number in range(3)])
        for number in range(3):
            (tmp_path / "large" / f"{number}.png").write_bytes(bytes(900_000))
        code, out, err = self.said(capsys, "pack", tmp_path / "large", tmp_path / "many", "--size-mb", 1)
        place = f"{tmp_path}/many/shard-{{000000..000002}}.tar"
        assert code == 0 and out.startswith(f"{place}: 3 samples")
        assert len(find_files(place, (".png",))) == 3
        assert all("Traceback" not in text for text in (out, err))

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--only", "smells"], "--only must be one of "),
            (["--size-mb", "0"], "--size-mb must be at least 1, got 0"),
        ],
    )
    def test_bad_settings_get_one_line(self, tmp_path, capsys, words, message):
        make(tmp_path / "in", ["a.jpg"])
        code, _, err = self.said(capsys, "pack", tmp_path / "in", tmp_path / "out", *words)
        assert code == 2 and message in err and len(err.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()

    def test_a_place_without_files(self, tmp_path, capsys):
        code, _, err = self.said(capsys, "pack", tmp_path / "gone", tmp_path / "out")
        assert code == 2 and "no such file or folder" in err and len(err.strip().splitlines()) == 1

    def test_progress_is_plain_lines_where_there_is_no_terminal(self, tmp_path):
        code = (
            "import time\nfrom maskkit import progress\nprogress.PLAIN_SECONDS = 0.1\n"
            "for _ in progress.track(range(10), 'packing', after=0): time.sleep(0.05)\n"
            "for _ in progress.track(range(10), 'quick'): pass\n"
        )
        result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        lines = result.stderr.splitlines()
        assert 3 <= len(lines) <= 7 and all("quick" not in line for line in lines)
        assert lines[0] == "packing: 1/10 · 0:00 left"

    @pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals here")
    def test_progress_is_a_bar_on_a_terminal(self, tmp_path):
        code = "from maskkit.progress import track\nfor _ in track(range(3), 'packing', after=0): print(end='')"
        master, slave = os.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
        subprocess.run([sys.executable, "-c", code], stderr=slave, check=True, env=environment)
        os.close(slave)
        shown = b""
        try:
            while chunk := os.read(master, 4096):
                shown += chunk
        except OSError:
            pass  # the end of a terminal
        os.close(master)
        assert b"packing" in shown and b"3/3" in shown


def test_counts_name_every_shard(tmp_path):
    make(tmp_path / "in", [f"{number}.jpg" for number in range(30)])
    result = packed(tmp_path / "in", tmp_path / "out", size=10_000)
    counts = json.loads((tmp_path / "out" / "counts.json").read_text())
    assert list(counts) == [f"shard-{number:06d}.tar" for number in range(result.shards)]
    assert sum(count[".jpg"] for count in counts.values()) == 30
