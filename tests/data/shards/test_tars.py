"""Tar shards: every sample of them is read, at random, and whatever is broken in them is named and counted."""

import gc
import io
import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import subprocess
import tarfile
import time
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from maskkit.data.find import find_files
from maskkit.data.loader import Stream, load
from maskkit.data.shards.patterns import expand_shards
from maskkit.data.shards.tars import Tars
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError, Key, epoch_order
from maskkit.modalities import image
from maskkit.modalities.image.data import open_pictures
from maskkit.modalities.image.survey import survey

SUFFIXES = (".jpg", ".bin")


def write_tar(path, members, **options):
    """Write (name, contents) pairs as ``tarfile`` does."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as tar:
        for name, contents in members:
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            tar.addfile(member, io.BytesIO(contents))
    return Path(path)


def contents(number, size=700):
    return bytes(np.random.default_rng(number).integers(1, 256, size, dtype=np.uint8))


def write_shards(folder, counts, counted=True):
    """Write shards of numbered samples; sample 12 is ``0012.bin`` with ``contents(12)``."""
    numbers, known = itertools.count(), {}
    for shard, count in enumerate(counts):
        samples = [(f"{number:04d}.bin", contents(number)) for number in itertools.islice(numbers, count)]
        write_tar(folder / f"s-{shard:02d}.tar", samples)
        known[f"s-{shard:02d}.tar"] = {".bin": count}
    if counted:
        (folder / "counts.json").write_text(json.dumps(known))
    return folder


def read(files, index):
    with files.open(index) as file:
        return file.read()


def labels(files):
    return [files.label(index) for index in range(len(files))]


def outcome(files, index):
    """Contents, or what is wrong."""
    try:
        return read(files, index)
    except BadSampleError as error:
        assert error.path == files.path(index) and "\n" not in error.reason
        return error.reason


class Numbers:
    """A source that gives the first bytes of a file as a tensor."""

    def __init__(self, files):
        self.files, self.path, self.label, self.order = files, files.path, files.label, files.order

    def __len__(self):
        return len(self.files)

    repeats = 1

    def read(self, key, rng):
        return torch.tensor([*read(self.files, key.index)[:8], int(torch.randint(1000, (), generator=rng))])


class TestNames:
    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("s-{00..02}.tar", ["s-00.tar", "s-01.tar", "s-02.tar"]),
            ("s-{8..10}.tar", ["s-8.tar", "s-9.tar", "s-10.tar"]),
            ("s-{2..0}.tar", ["s-2.tar", "s-1.tar", "s-0.tar"]),
            ("{b,a}/s-{1..2}.tar", ["b/s-1.tar", "b/s-2.tar", "a/s-1.tar", "a/s-2.tar"]),
            ("s3://bucket/s-{000..001}.tar", ["s3://bucket/s-000.tar", "s3://bucket/s-001.tar"]),
        ],
    )
    def test_braces(self, pattern, expected):
        assert expand_shards(pattern) == expected

    @pytest.mark.parametrize(
        "form", ["s-{00..02}.tar", "s-*.tar", "", "s-0[012].tar", "{s-00,s-01,s-02}.tar", "s-{00,0[12]}.tar"]
    )
    @pytest.mark.parametrize("scheme", ["", "file://"])
    def test_every_way_to_name_shards_gives_the_same_samples(self, tmp_path, form, scheme, monkeypatch):
        monkeypatch.setenv("MASKKIT_CACHE", str(tmp_path / "cache"))
        write_shards(tmp_path / "data", [3, 1, 2])
        files = find_files(f"{scheme}{tmp_path}/data/{form}", SUFFIXES)
        assert isinstance(files, Tars) and len(files) == 6
        assert [read(files, index) for index in range(6)] == [contents(number) for number in range(6)]

    def test_one_shard(self, tmp_path):
        write_shards(tmp_path, [3, 2])
        files = find_files(tmp_path / "s-01.tar", SUFFIXES)
        assert [read(files, index) for index in range(2)] == [contents(3), contents(4)]
        assert files.path(1) == f"{tmp_path}/s-01.tar/0004.bin"

    def test_the_order_given_is_the_order_of_indices(self, tmp_path):
        write_shards(tmp_path, [2, 1])
        files = find_files(f"{tmp_path}/s-{{01..00}}.tar", SUFFIXES)
        assert [read(files, index) for index in range(3)] == [contents(2), contents(0), contents(1)]

    def test_a_folder_with_samples_beside_its_tars_is_a_folder_of_samples(self, tmp_path):
        write_shards(tmp_path, [2])
        (tmp_path / "a.jpg").write_bytes(b"x")
        files = find_files(tmp_path, SUFFIXES)
        assert not isinstance(files, Tars) and files.path(0) == f"{tmp_path}/a.jpg"

    @pytest.mark.parametrize(
        ("place", "words"),
        [
            ("gone-{00..09}.tar", "none of its 10 shards is there"),
            ("gone-*.tar", "no shard matches"),
            ("other/", r"no sample in 1 shards ends in .bin, .jpg \(found .png\)"),
            ("s-{0..99999999}.tar", "more than 1,000,000 shards"),
            ("file://ROOT/other/*.tar.gz", "no shard matches"),
            ("file://ROOT/compressed/*.gz", "is no .tar shard; compressed ones must be unpacked"),
            ("nosuch://bucket/a.tar", "Protocol not known: nosuch"),
        ],
    )
    def test_what_names_no_shards_gets_one_line(self, tmp_path, place, words):
        write_tar(tmp_path / "other" / "a.tar", [("1.png", b"x")])
        (tmp_path / "compressed").mkdir()
        (tmp_path / "compressed" / "a.tar.gz").touch()
        place = place.replace("ROOT", str(tmp_path)) if "://" in place else f"{tmp_path}/{place}"
        with pytest.raises(ValueError, match=words) as error:
            find_files(place, SUFFIXES)
        assert "\n" not in str(error.value) and str(error.value).startswith(place.rpartition("/")[0])


class TestMembers:
    def one(self, tmp_path, members, **options):
        return find_files(write_tar(tmp_path / "a.tar", members, **options), SUFFIXES)

    def test_a_sample_is_what_agrees_up_to_the_first_dot_of_the_base_name(self, tmp_path):
        files = self.one(
            tmp_path,
            [
                ("a.b/1.jpg", b"first"),  # the dot of the folder cuts nothing
                ("a.b/1.cls", b"cat"),
                ("a.b/2.cls", b"dog\n"),  # the label may come first
                ("a.b/2.JPG", b"second"),
                ("c/2.jpg", b"third"),  # another folder, another sample
                ("c/3.seg.jpg", b"not a sample: its suffix is .seg.jpg"),
                ("c/.4.jpg", b"hidden"),
                ("c/jpg", b"no suffix"),
                ("c/5.bin", b"fourth"),
                ("c/5.jpg", b"the same sample again"),
            ],
        )
        assert [read(files, index) for index in range(len(files))] == [b"first", b"second", b"third", b"fourth"]
        assert labels(files) == ["cat", "dog", None, None]
        assert files.path(1) == f"{tmp_path}/a.tar/a.b/2.JPG"

    @pytest.mark.parametrize(
        ("members", "expected"),
        [
            ([("1.cls", b"7")], "7"),
            ([("1.json", b'{"label": 3}')], "3"),
            ([("1.json", b'{"class": "tabby cat", "width": 5}')], "tabby cat"),
            ([("1.txt", b"a caption\nof two lines")], "a caption"),
            ([("1.txt", b"caption"), ("1.json", b'{"label": "j"}'), ("1.cls", b"c")], "c"),
            ([("1.json", b'{"label": "j"}'), ("1.txt", b"caption")], "j"),
            ([("1.json", b"{broken")], None),
            ([("1.json", b"[" * 60_000)], None),
            ([("1.json", b'{"label": ' + b"[" * 500 + b"]" * 500 + b"}")], None),
            ([("1.json", b"[1]")], None),
            ([("1.cls", b"")], None),
            ([("1.cls", b"x" * 70_000)], None),
            ([("2.cls", b"of another sample")], None),
        ],
    )
    @pytest.mark.parametrize("first", [True, False])
    def test_labels(self, tmp_path, members, expected, first):
        sample = [("1.jpg", b"sample")]
        files = self.one(tmp_path, [*members, *sample] if first else [*sample, *members])
        assert labels(files) == [expected]

    def test_what_is_a_sample_is_no_label(self, tmp_path):
        write_tar(tmp_path / "a.tar", [("1.txt", b"0 0 0")])
        files = find_files(tmp_path / "a.tar", (".txt",))
        assert labels(files) == [None] and read(files, 0) == b"0 0 0"

    @pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_every_tar_format_and_long_names(self, tmp_path, form):
        names = ["a.jpg", "f" * 90 + "/" + "n" * 60 + ".jpg", "z.jpg"]
        if form != tarfile.USTAR_FORMAT:
            names += ["y" * 300 + ".jpg", "é" * 120 + ".jpg", "caf\udce9.jpg"]
        members = [(name, contents(number, 1 + 600 * number)) for number, name in enumerate(names)]
        files = self.one(tmp_path, members, format=form)
        assert [files.path(index).split(".tar/")[1] for index in range(len(files))] == names
        assert [read(files, index) for index in range(len(files))] == [data for _, data in members]

    def test_folders_links_and_pipes_in_an_archive(self, tmp_path):
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            for name, kind in (("d.jpg", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE), ("p.jpg", tarfile.FIFOTYPE)):
                member = tarfile.TarInfo(name)
                member.type, member.linkname = kind, "/etc/passwd"
                tar.addfile(member)
            tar.addfile(tarfile.TarInfo("empty.jpg"))
        files = find_files(tmp_path / "a.tar", SUFFIXES)
        assert [outcome(files, 0), outcome(files, 1)] == ["a link, which is not followed", "empty file"]
        assert len(files) == 2

    @pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command here")
    @pytest.mark.parametrize("form", ["gnu", "oldgnu", "pax", "ustar", "v7"])
    def test_what_the_tar_command_writes(self, tmp_path, form):
        names = ["1.jpg", "deep/er/2.jpg", "deep/er/2.cls"]
        for number, name in enumerate(names):
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_bytes(contents(number))
        command = ["tar", "-c", f"--format={form}", "-f", tmp_path / "a.tar", "-C", tmp_path / "in", "."]
        subprocess.run(command, check=True)
        files = find_files(tmp_path / "a.tar", SUFFIXES)
        found = {files.path(index).split(".tar/./")[1]: read(files, index) for index in range(len(files))}
        assert found == {"1.jpg": contents(0), "deep/er/2.jpg": contents(1)}

    @pytest.mark.skipif(shutil.which("tar") is None, reason="no tar command here")
    @pytest.mark.parametrize("form", ["gnu", "pax"])
    def test_sparse_members_are_bad_samples(self, tmp_path, form):
        (tmp_path / "1.jpg").write_bytes(contents(1))
        with open(tmp_path / "2.jpg", "wb") as file:
            file.seek(1 << 20)
            file.write(b"end")
        (tmp_path / "3.jpg").write_bytes(contents(3))
        names = ["1.jpg", "2.jpg", "3.jpg"]
        subprocess.run(["tar", "-cS", f"--format={form}", "-f", "a.tar", *names], check=True, cwd=tmp_path)
        files = find_files(tmp_path / "a.tar", SUFFIXES)
        found = [outcome(files, index) for index in range(len(files))]
        assert found[0] == contents(1) and found[-1] == contents(3)
        assert all(isinstance(reason, str) for reason in found[1:-1]) and len(found) >= 3

    def test_chained_archives_are_one(self, tmp_path):
        first = write_tar(tmp_path / "1", [("1.jpg", b"one")]).read_bytes()
        second = write_tar(tmp_path / "2", [("2.jpg", b"two")]).read_bytes()
        (tmp_path / "a.tar").write_bytes(first + second)
        files = find_files(tmp_path / "a.tar", SUFFIXES)
        assert [read(files, 0), read(files, 1)] == [b"one", b"two"] and len(files) == 2

    def test_nothing_is_written_where_an_archive_says(self, tmp_path):
        (tmp_path / "deep").mkdir()
        evil = ["../evil.jpg", f"{tmp_path}/evil.jpg", "x/../../evil.jpg"]
        write_tar(tmp_path / "deep" / "a.tar", [(name, b"evil") for name in evil])
        files = find_files(tmp_path / "deep" / "a.tar", SUFFIXES)
        for index in range(len(files)):
            with files.local(index) as path:
                assert "evil" not in path and Path(path).read_bytes() == b"evil"
        assert not [*tmp_path.rglob("evil*")] and not (tmp_path.parent / "evil.jpg").exists()


class TestStreams:
    def test_a_stream_is_a_file_of_its_own(self, tmp_path):
        files = find_files(write_shards(tmp_path, [3]), SUFFIXES)
        with files.open(0) as one, files.open(1) as other:
            assert one.read(5) == contents(0)[:5] and other.read(3) == contents(1)[:3]
            assert one.read(5) == contents(0)[5:10]
            assert one.seek(-4, os.SEEK_END) == 696 and one.read() == contents(0)[-4:] and one.read() == b""
            assert one.seek(9999) == 9999 and one.read(1) == b""
            one.seek(2)
            one.seek(3, os.SEEK_CUR)
            assert one.tell() == 5 and one.read(2) == contents(0)[5:7]
            with pytest.raises(OSError):
                one.seek(-1)
            with pytest.raises(OSError):
                one.fileno()  # of the whole shard it would be

    def test_a_stream_outlives_its_shard_being_put_away(self, tmp_path):
        files = find_files(write_shards(tmp_path, [2] * 80), SUFFIXES)
        small = Tars(files.shards, files.counts, files.counted, files.endings, buffer=1)
        with small.open(0) as stream:
            for index in range(len(small)):
                assert read(small, index) == contents(index)
            assert len(small._in_use) < 10 and 0 not in small._in_use
            assert stream.read() == contents(0)

    def test_files_are_closed(self, tmp_path):
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        files = find_files(write_shards(tmp_path, [2] * 80), SUFFIXES)
        for index in range(len(files)):
            read(files, index)
        assert len(os.listdir("/proc/self/fd")) - before <= 64
        del files
        gc.collect()
        assert len(os.listdir("/proc/self/fd")) == before

    def test_local_gives_a_path_for_as_long_as_it_is_needed(self, tmp_path):
        files = find_files(write_shards(tmp_path, [3]), SUFFIXES)
        with files.local(2) as path:
            assert Path(path).read_bytes() == contents(2) and path.endswith(".bin")
        assert not os.path.exists(path)
        (tmp_path / "plain.jpg").write_bytes(b"plain")
        plain = find_files(tmp_path / "plain.jpg", SUFFIXES)
        with plain.local(0) as path, plain.open(0) as file:
            assert path == f"{tmp_path}/plain.jpg" and file.read() == b"plain"

    def test_pictures_are_the_same_in_a_shard(self, tmp_path):
        rng = np.random.default_rng(0)
        for name, options in (("a.jpg", {}), ("b.png", {}), ("c.tif", {"compression": "tiff_lzw"}), ("d.webp", {})):
            picture = Image.fromarray(rng.integers(0, 256, (30, 20, 3), dtype=np.uint8))
            (tmp_path / "plain").mkdir(exist_ok=True)
            picture.save(tmp_path / "plain" / name, **options)
        members = [(path.name, path.read_bytes()) for path in sorted((tmp_path / "plain").iterdir())]
        write_tar(tmp_path / "shards" / "a.tar", members)
        plain, packed = (
            open_pictures(tmp_path / name, channels=3, transform=lambda picture, rng: picture)
            for name in ("plain", "shards")
        )
        for index in range(4):
            assert torch.equal(
                plain.read(Key.of(index), torch.Generator()), packed.read(Key.of(index), torch.Generator())
            )
        assert survey(tmp_path / "plain") == survey(tmp_path / "shards")


class TestTrouble:
    """Three shards of 4, 6 and 5 samples, the middle one spoilt."""

    def spoilt(self, tmp_path, counted, change):
        write_shards(tmp_path, [4, 6, 5], counted)
        shard = tmp_path / "s-01.tar"
        raw = bytearray(shard.read_bytes())
        raw = change(raw)
        shard.unlink()
        if raw is not None:
            shard.write_bytes(raw)
        files = find_files(f"{tmp_path}/s-{{00..02}}.tar", SUFFIXES)
        assert [outcome(files, index) for index in range(4)] == [contents(number) for number in range(4)]
        last = range(len(files) - 5, len(files))
        assert [outcome(files, index) for index in last] == [contents(number) for number in range(10, 15)]
        middle = range(4, len(files) - 5)
        paths = [files.path(index) for index in middle]
        assert len(set(paths)) == len(paths) and all(path.startswith(f"{tmp_path}/s-01.tar") for path in paths)
        for index in middle:  # nothing else breaks on a bad sample
            files.label(index)
            with pytest.raises(BadSampleError) if isinstance(outcome(files, index), str) else files.local(index):
                with files.local(index):
                    pass
        return [outcome(files, index) for index in middle]

    GOOD = [contents(number) for number in range(4, 10)]
    SIZE = 512 + 1024  # of a member: its header, and its contents filled up

    def test_truncated_in_a_member(self, tmp_path):
        cut = lambda raw: raw[: 3 * self.SIZE + 900]  # noqa: E731
        reason = "truncated after 3 members"
        assert self.spoilt(tmp_path / "a", True, cut) == self.GOOD[:3] + [reason] * 3
        assert self.spoilt(tmp_path / "b", False, cut) == [*self.GOOD[:3], reason]

    def test_truncated_between_members_and_in_a_header(self, tmp_path):
        for number, more in enumerate((0, 100)):
            cut = lambda raw, more=more: raw[: 3 * self.SIZE + more]  # noqa: E731
            reason = "truncated after 3 members"
            assert self.spoilt(tmp_path / f"a{number}", True, cut) == self.GOOD[:3] + [reason] * 3
            assert self.spoilt(tmp_path / f"b{number}", False, cut) == [*self.GOOD[:3], reason]

    def test_without_its_end_mark_but_complete(self, tmp_path):
        cut = lambda raw: raw[: 6 * self.SIZE]  # noqa: E731
        assert self.spoilt(tmp_path / "a", True, cut) == self.GOOD
        assert self.spoilt(tmp_path / "b", False, cut) == [*self.GOOD, "truncated after 6 members"]

    def test_missing(self, tmp_path):
        assert self.spoilt(tmp_path / "a", True, lambda raw: None) == ["no such shard"] * 6
        assert self.spoilt(tmp_path / "b", False, lambda raw: None) == ["no such shard"]

    def test_empty(self, tmp_path):
        assert self.spoilt(tmp_path / "a", True, lambda raw: b"") == ["empty file"] * 6
        assert self.spoilt(tmp_path / "b", False, lambda raw: b"") == ["empty file"]

    @pytest.mark.parametrize("place", [0, 130, 150, 400])
    def test_a_corrupt_header_in_the_middle_costs_one_sample(self, tmp_path, place):
        def change(raw):
            raw[2 * self.SIZE + place] ^= 0x15
            return raw

        reason = f"the header at byte {2 * self.SIZE} is corrupt"
        left = self.GOOD[:2] + self.GOOD[3:]
        assert self.spoilt(tmp_path / "a", True, change) == [*left, reason]
        assert self.spoilt(tmp_path / "b", False, change) == [*self.GOOD[:2], reason, *self.GOOD[3:]]

    def test_a_header_wiped_out_is_not_the_end(self, tmp_path):
        def change(raw):
            raw[2 * self.SIZE : 2 * self.SIZE + 512] = bytes(512)
            return raw

        found = self.spoilt(tmp_path, False, change)
        assert found == [*self.GOOD[:2], f"the header at byte {2 * self.SIZE + 512} is corrupt", *self.GOOD[3:]]

    def test_damage_within_a_sample_leaves_it_its_label(self, tmp_path):
        parts = [("1.jpg", b"one"), ("1.json", b"{}"), ("1.cls", b"cat"), ("2.jpg", b"two"), ("2.cls", b"dog")]
        shard = write_tar(tmp_path / "a.tar", parts)
        raw = bytearray(shard.read_bytes())
        raw[1024] ^= 1  # the header of 1.json
        shard.write_bytes(raw)
        files = find_files(shard, SUFFIXES)
        assert [outcome(files, index) for index in range(3)] == [b"one", "the header at byte 1024 is corrupt", b"two"]
        assert labels(files) == ["cat", None, "dog"]

    def test_the_first_header(self, tmp_path):
        def change(raw):
            raw[3] ^= 1
            return raw

        found = self.spoilt(tmp_path, False, change)
        assert found == ["not a tar archive, or its first header is corrupt", *self.GOOD[1:]]

    def test_garbage_and_compressed(self, tmp_path):
        import gzip

        garbage = lambda raw: contents(0, 5000)  # noqa: E731
        reason = "not a tar archive, or its first header is corrupt"
        assert self.spoilt(tmp_path / "a", True, garbage) == [reason] * 6
        assert self.spoilt(tmp_path / "b", False, garbage) == [reason]
        (found,) = self.spoilt(tmp_path / "c", False, lambda raw: gzip.compress(bytes(raw)))
        assert found.startswith("compressed with gzip") and found.endswith("unpack the shard to plain .tar")

    @pytest.mark.parametrize("said", [4, 9])
    def test_counts_that_do_not_fit(self, tmp_path, said):
        write_shards(tmp_path, [6])
        (tmp_path / "counts.json").write_text(json.dumps({"s-00.tar": said}))
        files = find_files(tmp_path, SUFFIXES)
        reason = f"the shard holds 6 samples, not {said}; fix it, or delete counts.json"
        # With more than are said, no index can be trusted; with fewer, only the last ones are missing.
        good = [contents(number) for number in range(6)] if said == 9 else []
        assert [outcome(files, index) for index in range(said)] == good + [reason] * (said - len(good))

    @pytest.mark.parametrize(
        "text",
        [
            *("{", "[]", '{"s-00.tar": "6"}', '{"s-00.tar": {".bin": -1}}', "[" * 100_000, '{"s-00.tar": 1e400}'),
            *('{"s-00.tar": 100000000000000}', '{"s-00.tar": {".bin": 1' + "0" * 999 + "}}", b'{"\xff": 6}'),
        ],
    )
    def test_counts_that_are_none(self, tmp_path, text):
        write_shards(tmp_path, [6])
        (tmp_path / "counts.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(ValueError, match=r"counts\.json: .*delete it, and samples are counted") as error:
            find_files(tmp_path, SUFFIXES)
        assert "\n" not in str(error.value)

    def test_a_corrupt_member_is_named_by_its_reader(self, tmp_path):
        png = io.BytesIO()
        Image.new("RGB", (8, 8)).save(png, "png")
        write_tar(tmp_path / "a.tar", [("1.png", png.getvalue()), ("2.png", b"not an image"), ("3.png", b"")])
        source = open_pictures(tmp_path / "a.tar", channels=3, transform=lambda picture, rng: picture)
        assert source.read(Key.of(0), torch.Generator()).shape == (3, 8, 8)
        with pytest.raises(BadSampleError) as error:
            source.read(Key.of(1), torch.Generator())
        assert error.value.path == f"{tmp_path}/a.tar/2.png" and "not an image" in error.value.reason
        with pytest.raises(BadSampleError, match=r"a\.tar/3\.png: empty file"):
            source.read(Key.of(2), torch.Generator())

    @pytest.mark.parametrize("workers", [0, 2])
    def test_trouble_is_counted_named_and_limited(self, tmp_path, workers):
        write_shards(tmp_path, [50, 50, 50])
        (tmp_path / "s-01.tar").unlink()
        source = Numbers(find_files(f"{tmp_path}/s-{{00..02}}.tar", SUFFIXES))
        skips = Skips(total=len(source), limit=1, file=tmp_path / "skipped.txt")
        batches = list(itertools.islice(load(source, Stream(source, 50, seed=0), workers=workers), 3))
        for batch in batches:
            skips.add(batch.bad)
        assert len(skips) == 50 and all(len(batch.samples) == 50 for batch in batches)
        lines = (tmp_path / "skipped.txt").read_text().splitlines()
        assert f"{tmp_path}/s-01.tar/sample 7\tno such shard" in lines
        strict = Skips(total=len(source), limit=0.05)
        with pytest.raises(ValueError, match=r"of 150 samples cannot be read.*s-01\.tar/sample \d+: no such shard"):
            for batch in batches:
                strict.add(batch.bad)

    def test_a_shard_that_goes_away_after_it_was_counted(self, tmp_path):
        write_shards(tmp_path, [3, 3], counted=False)
        files = find_files(tmp_path, SUFFIXES)
        (tmp_path / "s-01.tar").unlink()
        assert [outcome(files, index) for index in range(3, 6)] == ["no such shard"] * 3
        assert len({files.path(index) for index in range(6)}) == 6

    def test_bytes_flipped_anywhere_spoil_at_most_what_they_touch(self, tmp_path):
        rng = np.random.default_rng(0)
        shard = write_shards(tmp_path, [12], counted=False) / "s-00.tar"
        whole = shard.read_bytes()
        for _ in range(300):
            raw = bytearray(whole)
            flipped = {int(place) for place in rng.integers(0, 12 * self.SIZE, 3)}
            for place in flipped:
                raw[place] ^= int(rng.integers(1, 256))
            shard.write_bytes(raw)
            files = find_files(shard, SUFFIXES)
            found = {outcome(files, index) for index in range(len(files))}
            touched = {place // self.SIZE for place in flipped}
            assert all(contents(number) in found for number in set(range(12)) - touched)
            assert 12 - len(touched) <= len(files) <= 12

    @pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_bytes_flipped_in_long_names_raise_nothing_else(self, tmp_path, form):
        rng = np.random.default_rng(1)
        members = [(f"{number}" + "n" * 150 + ".bin", contents(number)) for number in range(6)]
        whole = write_tar(tmp_path / "a.tar", members, format=form).read_bytes()
        good = {data for _, data in members}
        for _ in range(120):
            raw = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                raw[place] ^= int(rng.integers(1, 256))
            (tmp_path / "a.tar").write_bytes(raw[: rng.integers(4 * len(raw) // 5, len(raw))])
            files = find_files(tmp_path / "a.tar", SUFFIXES)
            found = [outcome(files, index) for index in range(len(files))]
            assert good & set(found) and len({files.path(index) for index in range(len(files))}) == len(files)


class TestOrder:
    def make(self, counts, buffer):
        counts = np.array(counts)
        names = np.array([f"{number}.tar".encode() for number in range(len(counts))])
        return Tars(names, counts, np.ones(len(counts), bool), (".bin",), buffer)

    @pytest.mark.parametrize("buffer", [1, 7, 100, 16384])
    def test_every_sample_once_an_epoch_in_another_order(self, buffer):
        files = self.make([5, 0, 31, 1, 12], buffer)
        orders = [files.order(0, epoch) for epoch in range(4)] + [files.order(1, 0)]
        for number, keys in enumerate(orders[:4]):
            assert keys.dtype == np.int64 and (keys[:, 0] == number).all()
            assert sorted(keys[:, 1].tolist()) == list(range(49))
        if buffer > 1:  # else four shards have but 24 orders
            assert len({keys[:, 1].tobytes() for keys in orders}) == len(orders)
        assert np.array_equal(files.order(0, 2), orders[2])

    def test_a_window_touches_few_shards_and_mixes_them(self):
        files = self.make([10] * 52, buffer=40)
        shards = files.order(0, 0)[:, 1] // 10
        windows = shards.reshape(-1, 40)
        assert all(len(set(window.tolist())) == 4 for window in windows)
        assert all((np.diff(window) != 0).mean() > 0.5 for window in windows)
        assert sorted(shard for window in windows for shard in set(window.tolist())) == list(range(52))

    def test_the_place_of_a_sample_is_even(self):
        files = self.make([4] * 8, buffer=8)
        places = np.mean([np.argsort(files.order(0, epoch)[:, 1]) for epoch in range(400)], axis=0)
        assert np.abs(places - 15.5).max() < 2

    def test_a_source_hands_it_on(self, tmp_path):
        write_tar(tmp_path / "a.tar", [(f"{number}.png", b"x") for number in range(30)])
        source = open_pictures(tmp_path / "a.tar", channels=3, transform=lambda picture, rng: picture)
        assert np.array_equal(epoch_order(source, 3, 1), source.files.order(3, 1))
        (tmp_path / "b.png").write_bytes(b"x")
        plain = open_pictures(tmp_path / "b.png", channels=3, transform=lambda picture, rng: picture)
        assert epoch_order(plain, 3, 1).tolist() == [[1, 0, 0]]

    @pytest.mark.parametrize("buffer", [0, -1])
    def test_a_buffer_of_nothing(self, buffer):
        with pytest.raises(ValueError, match=f"buffer must be at least 1 sample, got {buffer}"):
            self.make([1], buffer)


class TestProcesses:
    def batches(self, source, workers, first=0, stride=1, count=6):
        stream = Stream(source, 8, seed=3, first=first, stride=stride)
        return list(itertools.islice(load(source, stream, workers=workers), count))

    @pytest.mark.filterwarnings("ignore:This DataLoader will create")
    @pytest.mark.parametrize("workers", [1, 3])
    def test_samples_do_not_depend_on_workers(self, tmp_path, workers):
        source = Numbers(find_files(write_shards(tmp_path, [7, 3, 11]), SUFFIXES))
        for one, other in zip(self.batches(source, 0), self.batches(source, workers), strict=True):
            assert torch.equal(one.samples, other.samples) and one.indices == other.indices

    def test_ranks_share_out_the_samples_and_a_run_can_start_anywhere(self, tmp_path):
        source = Numbers(find_files(write_shards(tmp_path, [7, 3, 11]), SUFFIXES))
        whole = self.batches(source, 0)
        ranks = [self.batches(source, 0, first=rank, stride=2, count=3) for rank in range(2)]
        again = Numbers(find_files(tmp_path, SUFFIXES))  # a process that has read nothing yet
        for number in range(6):
            assert torch.equal(whole[number].samples, ranks[number % 2][number // 2].samples)
            assert torch.equal(whole[number].samples, self.batches(again, 0, first=number, count=1)[0].samples)

    def test_a_pickled_copy_reads_the_same(self, tmp_path):
        files = find_files(write_shards(tmp_path, [7, 3]), SUFFIXES)
        assert read(files, 8) == contents(8)
        sent = pickle.dumps(files)
        assert len(sent) < 2000 and read(pickle.loads(sent), 8) == contents(8)

    def test_names_are_not_kept_as_python_objects(self, tmp_path):
        count = 5000
        write_tar(tmp_path / "a.tar", [(f"folder/{number:030d}.bin", b"x") for number in range(count)])
        gc.collect()
        objects = len(gc.get_objects())
        tracemalloc.start()
        files = find_files(tmp_path / "a.tar", SUFFIXES)
        assert files.path(count - 1).endswith(f"{count - 1:030d}.bin")
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gc.collect()
        assert used / count < 41 + 45 + 30  # bytes: name, numbers, and what does not grow with the count
        assert len(gc.get_objects()) - objects < 500

    def test_judging_by_a_few_samples_touches_few_shards(self, tmp_path):
        files = find_files(write_shards(tmp_path, [0, *[5] * 30]), SUFFIXES)
        picked = files.spread(24)
        assert len(set(picked)) == 24 and len({index // 5 for index in picked}) == 8
        assert files.spread(1000) == sorted(set(files.spread(1000))) and len(files.spread(1000)) == 40
        assert files.spread(1) == [0]


def inode(address, cache, gate):
    """Open a shard in a process of its own, as soon as all are there."""
    os.environ["MASKKIT_CACHE"] = cache
    from maskkit.data.shards.download import open_anywhere

    gate.wait()
    descriptor = open_anywhere(address)
    try:
        return os.fstat(descriptor).st_ino, os.pread(descriptor, 1 << 20, 0)
    finally:
        os.close(descriptor)


def inodes(arguments, results):
    results.put(inode(*arguments))


def wander(place, indices, results):
    """Read samples here and there, each time with all shards closed, and tell what went wrong."""
    wrong = []
    for index in indices:
        found = outcome(find_files(place, SUFFIXES), index)
        if found != contents(index):
            wrong.append(found)
    results.put(wrong)


class Unsteady(LocalFileSystem):
    """A store whose connections fail at times, or break off."""

    protocol = "unsteady"
    fails = 0
    breaks = False
    opened = 0

    def open(self, path, mode="rb", **options):
        if not path.endswith(".tar"):
            return super().open(path, mode, **options)
        Unsteady.opened += 1
        if Unsteady.opened <= Unsteady.fails:
            raise ConnectionError("the network is down")
        if Unsteady.breaks:
            return io.BytesIO(Path(self._strip_protocol(path)).read_bytes()[:100])
        return super().open(path, mode, **options)

    @classmethod
    def _strip_protocol(cls, path):
        return path.removeprefix("unsteady://")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MASKKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MASKKIT_CACHE_GB", raising=False)
    return tmp_path / "cache"


def kept(cache):
    return sorted(path.name.split("-", 1)[1] for path in cache.glob("*-s-*.tar"))


class TestRemote:
    def test_shards_are_copied_once_and_read(self, tmp_path, cache):
        write_shards(tmp_path / "data", [3, 2])
        files = find_files(f"file://{tmp_path}/data/s-{{00..01}}.tar", SUFFIXES)
        assert not cache.exists()  # the counts are known
        assert [read(files, index) for index in range(5)] == [contents(number) for number in range(5)]
        assert kept(cache) == ["s-00.tar", "s-01.tar"]
        assert files.path(4) == f"file://{tmp_path}/data/s-01.tar/0004.bin"
        for shard in (tmp_path / "data").glob("*.tar"):
            shard.unlink()
        again = find_files(f"file://{tmp_path}/data/s-{{00..01}}.tar", SUFFIXES)
        assert read(again, 4) == contents(4)

    def test_without_counts_and_in_memory(self, tmp_path, cache):
        store = fsspec.filesystem("memory")
        write_shards(tmp_path, [3, 2], counted=False)
        for name in ("s-00.tar", "s-01.tar"):
            store.pipe(f"/bucket/{name}", (tmp_path / name).read_bytes())
        try:
            for place in ("memory://bucket", "memory://bucket/*.tar", "memory://bucket/s-{00..01}.tar"):
                files = find_files(place, SUFFIXES)
                assert [read(files, index) for index in range(5)] == [contents(number) for number in range(5)]
        finally:
            store.rm("/bucket", recursive=True)

    def test_the_least_recently_used_goes_when_the_cache_is_full(self, tmp_path, cache, monkeypatch):
        write_shards(tmp_path / "data", [4] * 5)
        size = (tmp_path / "data" / "s-00.tar").stat().st_size
        monkeypatch.setenv("MASKKIT_CACHE_GB", str(3.5 * size / 1e9))
        cache.mkdir()
        (cache / "somebody's.tar").write_bytes(b"x" * 5 * size)  # not ours: neither counted nor deleted

        def touch(*shards):
            for shard in shards:
                files = find_files(f"file://{tmp_path}/data", SUFFIXES)  # without open shards
                assert read(files, 4 * shard) == contents(4 * shard)
                time.sleep(0.01)

        touch(0, 1, 2)
        assert kept(cache)[:3] == ["s-00.tar", "s-01.tar", "s-02.tar"]
        touch(0, 3)
        assert kept(cache) == ["s-00.tar", "s-02.tar", "s-03.tar"]
        touch(4)
        assert kept(cache) == ["s-00.tar", "s-03.tar", "s-04.tar"]
        assert (cache / "somebody's.tar").exists()

    def test_a_shard_in_use_is_read_on_after_it_was_deleted(self, tmp_path, cache, monkeypatch):
        write_shards(tmp_path / "data", [4] * 3)
        monkeypatch.setenv("MASKKIT_CACHE_GB", "0")  # each is let in alone
        files = find_files(f"file://{tmp_path}/data", SUFFIXES)
        for index in (0, 4, 8, 1, 5):
            assert read(files, index) == contents(index)
        assert kept(cache) == ["s-02.tar"]

    def test_many_processes_at_once_copy_it_once(self, tmp_path, cache):
        shard = write_shards(tmp_path / "data", [400]) / "s-00.tar"
        context = multiprocessing.get_context("fork")
        gate, results = context.Barrier(6), context.Queue()
        arguments = (f"file://{shard}", str(cache), gate)
        processes = [context.Process(target=inodes, args=(arguments, results)) for _ in range(6)]
        for process in processes:
            process.start()
        found = [results.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert len({number for number, _ in found}) == 1  # a second copy would be another file
        assert {raw for _, raw in found} == {shard.read_bytes()[: 1 << 20]}
        assert not [*cache.glob("*.part")]

    def test_many_processes_in_a_cache_that_is_too_small(self, tmp_path, cache, monkeypatch):
        write_shards(tmp_path / "data", [3] * 12)
        size = (tmp_path / "data" / "s-00.tar").stat().st_size
        monkeypatch.setenv("MASKKIT_CACHE_GB", str(2.5 * size / 1e9))
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        places = [np.random.default_rng(number).integers(0, 36, 60).tolist() for number in range(5)]
        processes = [context.Process(target=wander, args=(f"file://{tmp_path}/data", each, results)) for each in places]
        for process in processes:
            process.start()
        assert [results.get(timeout=60) for _ in processes] == [[]] * 5
        for process in processes:
            process.join()
        assert len(kept(cache)) <= 2 and not [*cache.glob("*.part")]

    def test_what_a_killed_process_left_is_cleared_away(self, tmp_path, cache, monkeypatch):
        write_shards(tmp_path / "data", [4] * 2)
        files = find_files(f"file://{tmp_path}/data", SUFFIXES)
        read(files, 0)
        (first,) = cache.glob("*s-00.tar")
        for name in (first.name, "0" * 32 + "-other.tar"):
            (cache / f"{name}.part").write_bytes(b"half")
        first.unlink()
        again = find_files(f"file://{tmp_path}/data", SUFFIXES)
        assert read(again, 0) == contents(0) and not [*cache.glob("*.part")]

    @pytest.mark.parametrize(
        ("fails", "breaks", "reason"),
        [(2, False, None), (9, False, "the network is down"), (0, True, "only 100 of 10240 bytes came")],
    )
    def test_an_unsteady_network(self, tmp_path, cache, monkeypatch, fails, breaks, reason):
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        fsspec.register_implementation("unsteady", Unsteady, clobber=True)
        write_shards(tmp_path / "data", [4, 4])
        Unsteady.opened, Unsteady.fails, Unsteady.breaks = 0, 0, False
        files = find_files(f"unsteady://{tmp_path}/data/s-{{00..01}}.tar", SUFFIXES)
        Unsteady.opened, Unsteady.fails, Unsteady.breaks = 0, fails, breaks
        found = [outcome(files, index) for index in range(4)]
        assert found == ([reason] * 4 if reason else [contents(number) for number in range(4)])
        assert Unsteady.opened == 3 if not breaks else Unsteady.opened >= 3
        assert not [*cache.glob("*.part")]

    def test_a_missing_shard_and_one_that_cannot_be_counted(self, tmp_path, cache, monkeypatch):
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        write_shards(tmp_path / "data", [2, 2], counted=False)
        files = find_files(f"file://{tmp_path}/data/s-{{00..02}}.tar", SUFFIXES)
        assert len(files) == 5 and outcome(files, 4) == "no such shard"
        assert files.path(4) == f"file://{tmp_path}/data/s-02.tar"
        fsspec.register_implementation("unsteady", Unsteady, clobber=True)
        Unsteady.opened, Unsteady.fails, Unsteady.breaks = 0, 99, False
        with pytest.raises(
            ValueError, match=r"s-00\.tar: cannot be opened \(the network is down\), and no counts\.json"
        ):
            find_files(f"unsteady://{tmp_path}/data/s-{{00..01}}.tar", SUFFIXES)

    def test_a_limit_that_is_no_number(self, tmp_path, cache, monkeypatch):
        monkeypatch.setenv("MASKKIT_CACHE_GB", "plenty")
        write_shards(tmp_path / "data", [2], counted=False)
        with pytest.raises(ValueError, match="MASKKIT_CACHE_GB must be a number of gigabytes, got 'plenty'"):
            find_files(f"file://{tmp_path}/data", SUFFIXES)


def test_training_data_opens_from_shards(tmp_path):
    pixels, classes = image.digits()
    members = []
    for number in range(40):
        png = io.BytesIO()
        Image.fromarray(pixels[number, 0]).save(png, "png")
        members += [(f"{number:04d}.png", png.getvalue()), (f"{number:04d}.cls", str(classes[number]).encode())]
    write_tar(tmp_path / "d-0.tar", members[:40])
    write_tar(tmp_path / "d-1.tar", members[40:])
    source = image.open_data(f"{tmp_path}/d-{{0..1}}.tar", image.tiny().tokenizer)
    assert [source.label(index) for index in range(40)] == [str(label) for label in classes[:40]]
    batch = next(load(source, Stream(source, 40, seed=0)))
    assert sorted(batch.indices) == list(range(40)) and not batch.bad
    assert torch.equal(batch.samples, torch.from_numpy(pixels[list(batch.indices)]))


def test_names_with_dots_that_the_format_loses_are_said(tmp_path, caplog):
    """Webdataset#237: a suffix starts at the first dot, so 22.05.bin is a sample 22 with the suffix .05.bin."""
    names = ["22.05.bin", "22.06.bin", "v1.0_a.bin", "7.bin", "7.mask.bin", "8.bin"]
    write_tar(tmp_path / "a.tar", [(name, contents(number)) for number, name in enumerate(names)])
    files = find_files(tmp_path / "a.tar", SUFFIXES)
    assert [files.path(index)[-5:] for index in range(len(files))] == ["7.bin", "8.bin"]
    (line,) = caplog.messages
    assert "a.tar: 3 files such as 22.05.bin are no samples" in line and "rename them" in line
    caplog.clear()
    write_tar(tmp_path / "b.tar", [(name, contents(number)) for number, name in enumerate(names[3:])])
    find_files(tmp_path / "b.tar", SUFFIXES)
    assert not caplog.messages


def test_names_that_stand_twice_are_said(tmp_path, caplog):
    """As in a tar that was appended to. Another suffix of the name is another part of the sample."""
    names = ["7.bin", "7.bin", "7.BIN", "8.bin", "8.txt", "9.bin"]
    write_tar(tmp_path / "a.tar", [(name, contents(number)) for number, name in enumerate(names)])
    assert len(find_files(tmp_path / "a.tar", SUFFIXES)) == 3
    (line,) = caplog.messages
    assert "a.tar: 2 files such as 7.bin have the name of the one before and are not read" in line
