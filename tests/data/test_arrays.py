"""Samples in .npy and .npz files, for every modality alike; what cannot be loaded is said in one line."""

import multiprocessing
import os
import pickle
import re
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from maskkit.data.arrays import ArraySource, check_labels, label_text, load_arrays
from maskkit.data.labelled import Labelled
from maskkit.data.source import BadSampleError, Key, Source, epoch_order, read_sample
from maskkit.evaluate.features import embed_all
from maskkit.modalities import audio, image, points, video
from maskkit.seeds import generator

X = np.arange(24).reshape(4, 6)


def test_an_npy_is_mapped_and_has_no_labels(tmp_path):
    np.save(tmp_path / "a.npy", X)
    samples, labels, other = load_arrays(str(tmp_path / "a.npy"), ("waves",))
    assert isinstance(samples, np.memmap) and (samples == X).all() and labels is None and other is None


@pytest.mark.parametrize("names", [("waves", "y", "rate"), ("X", "Targets", "SR"), ("what", "labels", "rate")])
def test_names_in_whatever_case_or_the_only_one_left(tmp_path, names):
    np.savez(tmp_path / "a.npz", **dict(zip(names, (X, np.arange(4), np.array(8000)), strict=True)))
    samples, labels, other = load_arrays(str(tmp_path / "a.npz"), ("waves", "x"), also=("rate", "sr"))
    assert (samples == X).all() and labels.tolist() == [0, 1, 2, 3] and other == 8000


def test_the_first_name_wins_and_an_unnamed_choice_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", data=X[:1], waves=X, more=X[:2])
    assert len(load_arrays(str(tmp_path / "a.npz"), ("waves", "data"))[0]) == 4
    with pytest.raises(ValueError, match=r"a\.npz: holds data, waves, more; call the samples 'clips'"):
        load_arrays(str(tmp_path / "a.npz"), ("clips",))


def test_lower_case_wins_and_other_spellings_count(tmp_path):
    np.savez(tmp_path / "a.npz", IMAGES=X[:1], images=X, LABELS=np.arange(1), labels=np.arange(4))
    samples, labels, _ = load_arrays(str(tmp_path / "a.npz"), ("images",))
    assert len(samples) == len(labels) == 4
    np.savez(tmp_path / "b.npz", foo=X, FOO=X[:1])
    with pytest.raises(ValueError, match="holds foo, FOO; call the samples"):
        load_arrays(str(tmp_path / "b.npz"), ("images",))


class Trap:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


def broken_files(folder):
    np.savez_compressed(folder / "whole.npz", images=np.random.default_rng(0).integers(0, 255, (9, 30, 30)))
    whole = (folder / "whole.npz").read_bytes()
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "flipped.npz").write_bytes(whole[:600] + bytes(50) + whole[650:])
    (folder / "empty.npz").write_bytes(b"")
    (folder / "text.npy").write_text("1, 2, 3\n")
    (folder / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    np.save(folder / "objects.npy", np.array([Trap(), None]))
    np.savez(folder / "objects.npz", images=np.array([Trap(), None]))
    (folder / "header.npy").write_bytes(
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': (".ljust(128) + bytes(64)
    )
    for name in ("images", "labels"):
        with zipfile.ZipFile(folder / f"member_{name}.npz", "w", zipfile.ZIP_LZMA) as archive:
            archive.writestr(name, b"not an array")
            archive.writestr("x.npy", whole[:90])
    np.save(folder / "short.npy", X)
    (folder / "short.npy").write_bytes((folder / "short.npy").read_bytes()[:-9])
    return sorted(path for path in folder.iterdir() if path.name != "whole.npz") + [folder / "absent.npz"]


OPENED = {
    "image": lambda path: image.open_images(path, image.tiny().tokenizer),
    "video": lambda path: video.open_videos(path, video.tiny().tokenizer),
    "audio": lambda path: audio.open_audio(path, audio.tiny().tokenizer),
    "points": lambda path: points.open_clouds(path, points.tiny().tokenizer),
}


@pytest.mark.parametrize("modality", OPENED)
def test_broken_files_say_so_in_one_line(tmp_path, modality):
    for path in broken_files(tmp_path):
        with pytest.raises(ValueError, match=path.name) as error:
            OPENED[modality](path)
        assert "\n" not in str(error.value) and len(str(error.value).replace(str(path), "")) < 200, path


STORED = {
    "image": np.zeros((4, 8, 8), np.uint8),
    "video": np.zeros((4, 8, 16, 16), np.uint8),
    "audio": np.random.default_rng(0).normal(size=(4, 16000)).astype(np.float32),
    "points": np.random.default_rng(0).normal(size=(4, 256, 3)).astype(np.float32),
}
UNUSABLE = {
    "objects": (np.array([Trap()] * 4), "holds pickled Python objects, which are never loaded"),
    "too_few": (np.zeros(3), "labels of shape [3] for 4 samples"),
    "nan": (np.array([0, 1, np.nan, 1]), "labels hold NaN or infinite values"),
    "broken": (None, "labels is not an array"),
}


@pytest.mark.parametrize("modality", OPENED)
@pytest.mark.parametrize("name", UNUSABLE)
def test_labels_that_cannot_be_used_spoil_only_what_asks_for_them(tmp_path, modality, name):
    labels, reason = UNUSABLE[name]
    path = tmp_path / f"{name}.npz"
    np.savez(path, x=STORED[modality], **({} if labels is None else {"labels": labels}))
    if labels is None:
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("labels", b"not an array")
    source = OPENED[modality](path)
    assert len(source) == 4 and source.read(Key.of(3), generator(0)).isfinite().all()
    for ask in (lambda: source.label(3), lambda: Labelled(source), lambda: embed_all({"raw": None}, source)):
        with pytest.raises(ValueError, match=re.escape(f"{path}: {reason}")) as error:
            ask()
        assert "\n" not in str(error.value)


def test_labels():
    assert check_labels(None, 3, "here") is None and label_text(None, 0) is None
    assert check_labels(np.array([[5], [6]]), 2, "here").tolist() == [5, 6]
    for wrong in (np.zeros(3), np.zeros((2, 10)), np.array(1), np.zeros((1, 2))):
        with pytest.raises(ValueError, match="here: labels of shape .* for 2 samples"):
            check_labels(wrong, 2, "here")
    kinds = [np.array([3]), np.array([3.0]), np.array([0.5]), np.array(["cat"]), np.array([b"cat"]), np.array([True])]
    assert [label_text(labels, 0) for labels in kinds] == ["3", "3", "0.5", "cat", "cat", "True"]


def doubled(stored, path, rng):
    """Make a sample of a row: a function of a module, which worker processes find by its name."""
    if not np.isfinite(stored).all():
        raise BadSampleError(path, "not finite")
    return 2 * torch.from_numpy(np.array(stored, dtype=np.float32)) + torch.rand((), generator=rng)


def last_axis_first(array, where):
    if array.ndim != 3:
        raise ValueError(f"{where}: not [N P C]")
    return np.moveaxis(array, 2, 1)


def clouds(path, **named):
    """Save clouds [N P C] = [4 5 3], the third of which is broken."""
    points = np.arange(60, dtype=np.float64).reshape(4, 5, 3)
    points[2, 0, 0] = np.nan
    np.savez(path, points=points, **named)
    return points


class TestSource:
    def test_rows_become_samples_with_their_path_and_label(self, tmp_path):
        points = clouds(tmp_path / "a.npz", labels=np.array([3, 0, 1, 0]))
        source = ArraySource(where=str(tmp_path / "a.npz"), names=("points",), row=doubled)
        assert isinstance(source, Source) and len(source) == 4 and source.repeats == 1 and source.shape == (5, 3)
        sample = source.read(Key.of(1), generator(0)) - torch.rand((), generator=generator(0))
        assert torch.allclose(sample, 2 * torch.from_numpy(points[1]).float())
        assert [source.label(index) for index in range(4)] == ["3", "0", "1", "0"]
        with pytest.raises(BadSampleError, match=r"a\.npz\[2\]: not finite"):
            source.read(Key.of(2), generator(0))
        assert source.spread(3) == [0, 2, 3] and source.spread(9) == [0, 1, 2, 3]

    def test_an_array_is_arranged_and_what_does_not_fit_is_refused(self, tmp_path):
        points = clouds(tmp_path / "a.npz")
        source = ArraySource(where=str(tmp_path / "a.npz"), names=("points",), row=doubled, arrange=last_axis_first)
        assert source.shape == (3, 5) and np.array_equal(source.array[1], points[1].T) and source.label(0) is None
        np.save(tmp_path / "b.npy", points[0])
        with pytest.raises(ValueError, match="b.npy: not"):
            ArraySource(where=str(tmp_path / "b.npy"), names=("points",), row=doubled, arrange=last_axis_first)

    def test_what_was_loaded_is_not_loaded_again(self, tmp_path, monkeypatch):
        points = clouds(tmp_path / "a.npz")
        monkeypatch.setattr("maskkit.data.arrays.load_arrays", None)
        source = ArraySource(where=str(tmp_path / "a.npz"), names=("points",), row=doubled, loaded=(points, None))
        assert source.array is points

    def test_a_copy_opens_the_file_again(self, tmp_path):
        np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(100, 50, 3)))
        source = ArraySource(where=str(tmp_path / "a.npy"), names=("points",), row=doubled, arrange=last_axis_first)
        sent = pickle.dumps(source)
        assert len(sent) < 1000 and isinstance(source.array.base, np.memmap)
        copy = pickle.loads(sent)
        assert torch.equal(copy.read(Key.of(7), generator(1)), source.read(Key.of(7), generator(1)))

    def test_a_spawned_process_reads_the_same(self, tmp_path):
        clouds(tmp_path / "a.npz", labels=np.array([3, 0, 1, 0]))
        source = ArraySource(where=str(tmp_path / "a.npz"), names=("points",), row=Doubled(2))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            there = pool.apply(read_there, (source, 3, 5))
        assert torch.equal(there, source.read(Key.of(3), generator(5)))


def read_there(source, index, seed):
    return source.read(Key.of(index), generator(seed))


@dataclass(frozen=True)
class Doubled:
    """The same as an object with settings."""

    factor: int

    def __call__(self, stored, path, rng):
        return self.factor * torch.from_numpy(stored) + torch.rand((), generator=rng)


ROWS = {
    "image": np.zeros((20, 8, 8, 1), dtype=np.uint8),
    "video": np.zeros((20, 8, 16, 16), dtype=np.uint8),
    "audio": np.random.default_rng(0).normal(size=(20, 16000)).astype(np.float32),
    "points": np.random.default_rng(0).normal(size=(20, 256, 3)),
}


@pytest.mark.parametrize("modality", OPENED)
def test_an_array_that_is_truncated_while_it_is_mapped_is_told_before_it_is_read(tmp_path, modality):
    """To read beyond the end of the file would end the process by SIGBUS."""
    path = tmp_path / "a.npy"
    np.save(path, ROWS[modality])
    source = OPENED[modality](path)
    order = epoch_order(source, 0, 3)
    assert sorted(order[:, 1]) == list(range(20)) and set(order[:, 0]) == {3}
    read_sample(source, Key.of(19), generator(0))
    os.truncate(path, 300)
    with pytest.raises(BadSampleError, match=r"a\.npy\[19\]: truncated since it was opened: 300 of \d+ bytes"):
        read_sample(source, Key.of(19), generator(0))
    with pytest.raises(ValueError, match=r"a\.npy: truncated since it was opened: 300 of \d+ bytes; write it whole"):
        epoch_order(source, 0, 1)


def test_a_deleted_array_can_still_be_read(tmp_path):
    np.save(tmp_path / "a.npy", ROWS["image"])
    source = OPENED["image"](tmp_path / "a.npy")
    os.unlink(tmp_path / "a.npy")
    assert read_sample(source, Key.of(19), generator(0)).shape == (1, 8, 8)


def test_an_archive_whose_array_is_larger_than_what_is_stored_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 8, 8), dtype=np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:
        content = archive.read("images.npy").replace(b"(3, 8, 8)", b"(9, 9, 9)")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", content)
    with pytest.raises(ValueError, match=r"a\.npz: truncated: the array images of 729 bytes is stored in 320"):
        OPENED["image"](tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5"])
def test_a_file_that_is_not_there_is_told_as_that(tmp_path, name):
    with pytest.raises(ValueError, match=f"{name}: no such file or directory; check the path of the data$"):
        load_arrays(str(tmp_path / name), ("x",))
