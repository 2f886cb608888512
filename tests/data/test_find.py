import json
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from maskkit.data.find import find_files
from maskkit.data.paths import Files

SUFFIXES = (".jpg", ".png")


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def names(files: Files, root: Path) -> list[str]:
    return [os.path.relpath(files.path(i), root) for i in range(len(files))]


def labels(files: Files) -> list[str | None]:
    return [files.label(i) for i in range(len(files))]


def write_list(tmp_path: Path, text: str, name: str = "list.txt") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


class TestFolder:
    def test_depth_case_order_and_labels(self, tmp_path):
        make(tmp_path, "dog/b.JPG", "cat/deep/er/z.png", "cat/a.jpg", "notes.txt", "cat/readme.md")
        files = find_files(tmp_path, SUFFIXES)
        assert names(files, tmp_path) == ["cat/a.jpg", "cat/deep/er/z.png", "dog/b.JPG"]
        assert labels(files) == ["cat", "cat", "dog"]
        assert files.classes == ("cat", "dog")
        assert files.labels.tolist() == [0, 0, 1]

    def test_holds_arrays_and_survives_pickling(self, tmp_path):
        files = pickle.loads(pickle.dumps(find_files(make(tmp_path, "a/1.jpg", "b/2.jpg"), SUFFIXES)))
        assert files.paths.dtype.kind == "S" and files.labels.dtype == np.int32
        assert files.path(1) == f"{tmp_path}/b/2.jpg" and files.label(1) == "b"

    def test_a_file_in_the_root_means_no_labels(self, tmp_path):
        files = find_files(make(tmp_path, "cat/a.jpg", "b.jpg"), SUFFIXES)
        assert len(files) == 2 and files.labels is None and labels(files) == [None, None]

    def test_an_ignored_file_in_the_root_does_not_cost_the_labels(self, tmp_path):
        assert labels(find_files(make(tmp_path, "cat/a.jpg", "notes.txt"), SUFFIXES)) == ["cat"]

    def test_a_trailing_slash_changes_nothing(self, tmp_path):
        make(tmp_path, "cat/a.jpg", "dog/b.jpg")
        one, other = find_files(str(tmp_path), SUFFIXES), find_files(f"{tmp_path}/", SUFFIXES)
        assert one.paths.tolist() == other.paths.tolist() and labels(one) == labels(other) == ["cat", "dog"]

    def test_a_relative_folder_stays_relative(self, tmp_path, monkeypatch):
        monkeypatch.chdir(make(tmp_path, "data/cat/a.jpg"))
        files = find_files("data", SUFFIXES)
        assert files.path(0) == "data/cat/a.jpg" and files.label(0) == "cat"

    def test_hidden_files_and_folders_are_skipped(self, tmp_path):
        make(tmp_path, "a/1.jpg", "a/._1.jpg", ".thumbs/1.jpg", "lost+found/2.jpg")
        assert names(find_files(tmp_path, SUFFIXES), tmp_path) == ["a/1.jpg"]

    def test_link_loops_end_and_nothing_counts_twice(self, tmp_path):
        make(tmp_path, "b/1.jpg", "c/2.jpg")
        (tmp_path / "b" / "up").symlink_to(tmp_path)
        (tmp_path / "b" / "other").symlink_to(tmp_path / "c")
        (tmp_path / "c" / "other").symlink_to(tmp_path / "b")
        (tmp_path / "a").symlink_to(tmp_path / "c")  # comes first, yet c/2.jpg keeps its real place
        assert names(find_files(tmp_path, SUFFIXES), tmp_path) == ["b/1.jpg", "c/2.jpg"]

    def test_links_to_elsewhere_are_followed(self, tmp_path):
        make(tmp_path, "store/x/1.jpg", "store/2.jpg", "data/real/3.jpg")
        (tmp_path / "data" / "linked").symlink_to(tmp_path / "store")
        (tmp_path / "data" / "real" / "file.png").symlink_to(tmp_path / "store" / "2.jpg")
        files = find_files(tmp_path / "data", SUFFIXES)
        assert names(files, tmp_path / "data") == ["linked/2.jpg", "linked/x/1.jpg", "real/3.jpg", "real/file.png"]
        assert labels(files) == ["linked", "linked", "real", "real"]

    def test_dangling_and_self_links_are_samples_and_pipes_are_not(self, tmp_path):
        (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
        (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
        os.mkfifo(tmp_path / "pipe.jpg")
        assert names(find_files(tmp_path, SUFFIXES), tmp_path) == ["gone.jpg", "self.jpg"]

    def test_a_folder_named_like_a_picture_is_searched(self, tmp_path):
        assert names(find_files(make(tmp_path, "set.jpg/1.png"), SUFFIXES), tmp_path) == ["set.jpg/1.png"]

    def test_odd_names_survive(self, tmp_path):
        odd = ["new\nline.jpg", "smile ☺.jpg", "[1].jpg", "#.jpg", 'quote".jpg']
        files = find_files(make(tmp_path, *odd), SUFFIXES)
        assert sorted(names(files, tmp_path)) == sorted(odd)

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_names_that_are_no_utf8_survive(self, tmp_path):
        raw = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
        Path(os.fsdecode(raw)).write_bytes(b"x")
        files = find_files(tmp_path, SUFFIXES)
        assert os.fsencode(files.path(0)) == raw and os.path.exists(files.path(0))

    def test_suffixes_of_several_parts(self, tmp_path):
        files = find_files(make(tmp_path, "a.nii.gz", "b.gz"), (".nii.gz",))
        assert names(files, tmp_path) == ["a.nii.gz"]


class TestGlob:
    @pytest.fixture
    def root(self, tmp_path):
        return make(tmp_path, "cat/1.jpg", "cat/2.png", "cow/3.jpg", "dog/sub/4.jpg", "5.jpg", "6.txt", "cat/.7.jpg")

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.jpg", ["5.jpg"]),
            ("?.jpg", ["5.jpg"]),
            ("*/*.jpg", ["cat/1.jpg", "cow/3.jpg"]),
            ("c[ao]*/*", ["cat/1.jpg", "cat/2.png", "cow/3.jpg"]),
            ("**/*.jpg", ["5.jpg", "cat/1.jpg", "cow/3.jpg", "dog/sub/4.jpg"]),
            ("**/sub/*.jpg", ["dog/sub/4.jpg"]),
            ("*/**/?.jpg", ["cat/1.jpg", "cow/3.jpg", "dog/sub/4.jpg"]),
            ("do*/**", ["dog/sub/4.jpg"]),
            ("d*", ["dog/sub/4.jpg"]),  # a folder that matches is searched through
            ("*", ["5.jpg", "cat/1.jpg", "cat/2.png", "cow/3.jpg", "dog/sub/4.jpg"]),
        ],
    )
    def test_matches(self, root, pattern, expected, monkeypatch):
        assert names(find_files(root / pattern, SUFFIXES), root) == expected
        monkeypatch.chdir(root)
        assert names(find_files(pattern, SUFFIXES), root) == expected

    def test_labels_are_the_first_level_below_the_fixed_part(self, root):
        assert labels(find_files(f"{root}/c*/*.jpg", SUFFIXES)) == ["cat", "cow"]
        assert labels(find_files(f"{root}/dog/**/*.jpg", SUFFIXES)) == ["sub"]
        assert labels(find_files(f"{root}/**/*.jpg", SUFFIXES)) == [None] * 4

    def test_recursion_ends_in_link_loops(self, root):
        (root / "cat" / "up").symlink_to(root)
        (root / "dog" / "up").symlink_to(root)
        assert len(find_files(f"{root}/**/*.jpg", SUFFIXES)) == 4

    def test_a_real_name_with_brackets_wins(self, tmp_path):
        make(tmp_path, "set [1]/a.jpg", "set 1/b.jpg", "x[2].jpg")
        assert names(find_files(tmp_path / "set [1]", SUFFIXES), tmp_path) == ["set [1]/a.jpg"]
        assert names(find_files(tmp_path / "x[2].jpg", SUFFIXES), tmp_path) == ["x[2].jpg"]


class TestSingleFile:
    def test_is_one_sample(self, tmp_path):
        files = find_files(make(tmp_path, "a b.JPG") / "a b.JPG", SUFFIXES)
        assert names(files, tmp_path) == ["a b.JPG"] and files.labels is None

    def test_without_suffix_is_tried(self, tmp_path):
        assert len(find_files(make(tmp_path, "0a1b2c") / "0a1b2c", SUFFIXES)) == 1

    def test_home_is_expanded(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(make(tmp_path, "a.jpg")))
        assert find_files("~/a.jpg", SUFFIXES).path(0) == f"{tmp_path}/a.jpg"


class TestTextList:
    @pytest.fixture(autouse=True)
    def pictures(self, tmp_path):
        make(tmp_path, "a.jpg", "my holiday 2.jpg", "sub/b.png", "x,y.jpg", "odd 3", "take 1.jpg 2.jpg")

    @pytest.mark.parametrize(
        ("line", "path", "label"),
        [
            ("a.jpg", "a.jpg", None),
            ("a.jpg 3", "a.jpg", "3"),
            ("a.jpg\tgolden retriever", "a.jpg", "golden retriever"),
            ("a.jpg, cat", "a.jpg", "cat"),
            ("a.jpg;cat", "a.jpg", "cat"),
            ("  a.jpg  7  ", "a.jpg", "7"),
            ("a.jpg,", "a.jpg", None),
            ("my holiday 2.jpg", "my holiday 2.jpg", None),
            ("my holiday 2.jpg 5", "my holiday 2.jpg", "5"),
            ("my holiday 2.jpg very nice", "my holiday 2.jpg", "very nice"),
            ("take 1.jpg 2.jpg", "take 1.jpg 2.jpg", None),
            ("x,y.jpg,cat", "x,y.jpg", "cat"),
            ("odd 3", "odd 3", None),  # a file without a suffix, and not "odd" of class 3
            ("odd 3 3", "odd 3", "3"),
            ('"my holiday 2.jpg",cat', "my holiday 2.jpg", "cat"),
            ('"x,y.jpg" , "cat, or dog"', "x,y.jpg", "cat, or dog"),
            ('a.jpg,"/m/09x0r,/m/05zppz"', "a.jpg", "/m/09x0r,/m/05zppz"),
            ("a.jpg,/m/09x0r,/m/05zppz", "a.jpg", "/m/09x0r,/m/05zppz"),
            ("gone away.jpg 4", "gone away.jpg", "4"),  # missing: a bad sample when it is read
            ("gone away.jpg", "gone away.jpg", None),
            ("gone away.dat", "gone away.dat", None),
            ("sub/b.png 1", "sub/b.png", "1"),
        ],
    )
    @pytest.mark.parametrize("suffix", [".txt", ".lst", ".csv"])
    def test_one_line(self, tmp_path, line, path, label, suffix):
        files = find_files(write_list(tmp_path, line + "\n", f"list{suffix}"), SUFFIXES)
        assert names(files, tmp_path) == [path] and labels(files) == [label]

    def test_comments_blank_lines_order_and_repetition(self, tmp_path):
        files = find_files(write_list(tmp_path, "# three\n\nsub/b.png 1\n   \n a.jpg 0\r\nsub/b.png 1"), SUFFIXES)
        assert names(files, tmp_path) == ["sub/b.png", "a.jpg", "sub/b.png"] and labels(files) == ["1", "0", "1"]

    def test_every_line_counts_whatever_its_suffix(self, tmp_path):
        files = find_files(write_list(tmp_path, "a.jpg\nlist.txt\nmissing.xyz\n"), SUFFIXES)
        assert names(files, tmp_path) == ["a.jpg", "list.txt", "missing.xyz"] and files.labels is None

    def test_lines_without_a_label_among_labelled_ones(self, tmp_path):
        files = find_files(write_list(tmp_path, "a.jpg 1\nsub/b.png\n"), SUFFIXES)
        assert labels(files) == ["1", None] and files.labels.tolist() == [0, -1]

    def test_number_classes_are_in_numeric_order(self, tmp_path):
        files = find_files(write_list(tmp_path, "".join(f"a.jpg {i}\n" for i in (10, 2, 0))), SUFFIXES)
        assert files.classes == ("0", "2", "10") and labels(files) == ["10", "2", "0"]

    def test_beside_the_list_wins_over_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(make(tmp_path / "cwd", "a.jpg", "only/here.jpg"))
        files = find_files(write_list(tmp_path, "a.jpg\nonly/here.jpg\nnowhere.jpg\n"), SUFFIXES)
        assert files.path(0) == f"{tmp_path}/a.jpg"
        assert files.path(1) == "only/here.jpg" and os.path.exists(files.path(1))
        assert files.path(2) == f"{tmp_path}/nowhere.jpg"

    def test_absolute_paths_and_a_list_in_the_working_directory(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_list(tmp_path, f"{tmp_path}/sub/b.png 1\na.jpg 2\n")
        files = find_files("list.txt", SUFFIXES)
        assert [files.path(0), files.path(1)] == [f"{tmp_path}/sub/b.png", "a.jpg"]

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_lists_from_other_editors(self, tmp_path, encoding):
        (tmp_path / "list.txt").write_bytes("a.jpg 1\r\nsub/b.png 2\r\n".encode(encoding))
        files = find_files(tmp_path / "list.txt", SUFFIXES)
        assert names(files, tmp_path) == ["a.jpg", "sub/b.png"] and labels(files) == ["1", "2"]

    def test_bytes_that_are_no_utf8(self, tmp_path):
        (tmp_path / "list.txt").write_bytes(b"caf\xe9.jpg 1\n")
        assert os.fsencode(find_files(tmp_path / "list.txt", SUFFIXES).path(0)).endswith(b"/caf\xe9.jpg")

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("path,label\na.jpg,cat\nsub/b.png,dog\n", "list.csv"),
            ("label,id,filename\ncat,1,a.jpg\ndog,2,sub/b.png\n", "list.csv"),
            (",path,label\n0,a.jpg,cat\n1,sub/b.png,dog\n", "list.csv"),  # as pandas writes it
            ("Image;Class\na.jpg;cat\nsub/b.png;dog\n", "list.csv"),
            ("label\tpath\ncat\ta.jpg\ndog\tsub/b.png\n", "list.tsv"),
            ("path label\na.jpg cat\nsub/b.png dog\n", "list.txt"),
            ('"path","label"\n"a.jpg","cat"\n"sub/b.png","dog"\n', "list.csv"),
        ],
    )
    def test_header(self, tmp_path, text, name):
        files = find_files(write_list(tmp_path, text, name), SUFFIXES)
        assert names(files, tmp_path) == ["a.jpg", "sub/b.png"] and labels(files) == ["cat", "dog"]

    def test_a_header_without_labels(self, tmp_path):
        files = find_files(write_list(tmp_path, "path\na.jpg\nmy holiday 2.jpg\n", "list.csv"), SUFFIXES)
        assert names(files, tmp_path) == ["a.jpg", "my holiday 2.jpg"] and files.labels is None

    def test_commas_in_paths_below_a_header(self, tmp_path):
        files = find_files(write_list(tmp_path, 'path,label\n"x,y.jpg",cat\nx,y.jpg,dog\n', "list.csv"), SUFFIXES)
        assert names(files, tmp_path) == ["x,y.jpg", "x,y.jpg"] and labels(files) == ["cat", "dog"]

    def test_a_file_called_like_a_header_is_a_file(self, tmp_path):
        make(tmp_path, "image")
        assert names(find_files(write_list(tmp_path, "image\na.jpg\n"), SUFFIXES), tmp_path) == ["image", "a.jpg"]

    def test_where_samples_may_be_txt_the_content_decides(self, tmp_path):
        (tmp_path / "cloud.txt").write_text("0.1,0.2,0.3\n0.4,0.5,0.6\n")
        write_list(tmp_path, "cloud.txt 3\n")
        suffixes = (".txt", ".ply")
        assert names(find_files(tmp_path / "cloud.txt", suffixes), tmp_path) == ["cloud.txt"]
        files = find_files(tmp_path / "list.txt", suffixes)
        assert names(files, tmp_path) == ["cloud.txt"] and labels(files) == ["3"]


class TestJsonList:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            (["a.jpg", "sub/my b.jpg"], [None, None]),
            ([{"path": "a.jpg", "label": 10}, {"file": "sub/my b.jpg", "labels": 9}], ["10", "9"]),
            ([{"path": "a.jpg", "label": "cat"}, {"path": "sub/my b.jpg", "label": None}], ["cat", None]),
            ({"data": [{"wav": "a.jpg", "labels": "/m/1,/m/2"}, {"wav": "sub/my b.jpg", "labels": "/m/1"}]}, None),
            ([["a.jpg", "x"], ["sub/my b.jpg", "y"]], ["x", "y"]),
            ([{"path": "a.jpg", "labels": ["p", "q"]}, {"path": "sub/my b.jpg", "labels": []}], ["p,q", None]),
        ],
    )
    def test_forms(self, tmp_path, content, expected):
        make(tmp_path, "a.jpg", "sub/my b.jpg")
        files = find_files(write_list(tmp_path, json.dumps(content), "list.json"), SUFFIXES)
        assert names(files, tmp_path) == ["a.jpg", "sub/my b.jpg"]
        assert labels(files) == (expected or ["/m/1,/m/2", "/m/1"])

    def test_absolute_paths_are_kept_whether_they_exist_or_not(self, tmp_path):
        make(tmp_path, "there.jpg", "sub/there.jpg")
        listed = [f"{tmp_path}/there.jpg", f"{tmp_path}/sub/../there.jpg", "/no/such/folder/gone.jpg"]
        content = [{"wav": path, "labels": str(number)} for number, path in enumerate(listed)]
        files = find_files(write_list(tmp_path / "sub", json.dumps(content), "list.json"), SUFFIXES)
        assert [files.path(i) for i in range(3)] == listed and labels(files) == ["0", "1", "2"]


class TestErrors:
    @pytest.mark.parametrize(
        ("make_place", "words"),
        [
            (lambda root: root / "nothing", "no such file"),
            (lambda root: "", "empty"),
            (lambda root: root / "*.gif", "nothing matches"),
            (lambda root: root / "**/*.gif", "nothing matches"),
            (lambda root: make(root / "d", "a.mov", "b.mov", "c") and root / "d", "none of its 3 files"),
            (lambda root: make(root / "d", ".hidden.jpg") and root / "d", "holds no files"),
            (lambda root: make(root / "d", "a.mov") and root / "d" / "*", "none of its 1 files"),
            (lambda root: make(root, "a.zip") / "a.zip", "ends in none of"),
            (lambda root: write_list(root, "# only this\n\n"), "names no files"),
            (lambda root: write_list(root, "path,label\n"), "names no files"),
            (lambda root: write_list(root, "a" * 10_000), "longer than any path"),
            (lambda root: write_list(root, "a\0b"), "not a text file"),
            (lambda root: write_list(root, "[1,", "l.json"), "not valid JSON"),
            (lambda root: write_list(root, "", "l.json"), "not valid JSON"),
            (lambda root: write_list(root, "[" * 100_000, "l.json"), "not valid JSON .*nested deeper"),
            (lambda root: write_list(root, f"[{'[' * 300}{']' * 300}]", "l.json"), "not valid JSON .*nested deeper"),
            (lambda root: write_list(root, "[" + "9" * 5000 + "]", "l.json"), "not valid JSON"),
            (lambda root: write_list(root, "[]", "l.json"), "names no files"),
            (lambda root: write_list(root, '{"a": 1}', "l.json"), "no list of files"),
            (lambda root: write_list(root, '["a.jpg", {"label": 1}]', "l.json"), "entry 2 names no file"),
            (lambda root: write_list(root, '[""]', "l.json"), "entry 1 names no file"),
        ],
    )
    def test_one_line_that_names_the_place(self, tmp_path, make_place, words):
        place = make_place(tmp_path)
        with pytest.raises(ValueError, match=words) as caught:
            find_files(place, SUFFIXES)
        assert str(place) in str(caught.value) and "\n" not in str(caught.value)

    def test_unknown_suffixes_are_named(self, tmp_path):
        with pytest.raises(ValueError, match=r"\.jpg, \.png \(found \.mov, \.avi\)"):
            find_files(make(tmp_path, "a.mov", "b.mov", "c.avi"), SUFFIXES)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may look anywhere")
    def test_a_folder_that_may_not_be_seen_is_not_left_out_silently(self, tmp_path):
        make(tmp_path, "a/1.jpg", "b/2.jpg")
        (tmp_path / "b").chmod(0)
        try:
            with pytest.raises(ValueError, match="permission denied"):
                find_files(tmp_path, SUFFIXES)
        finally:
            (tmp_path / "b").chmod(0o755)
