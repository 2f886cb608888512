"""Samples in .npy and .npz files, for every modality alike; what cannot be loaded is said in one line."""

import pickle
import zipfile

import numpy as np
import pytest
from maskkit.modalities import audio, image, points, video

from maskkit.data.arrays import check_labels, label_text, load_arrays

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
    np.savez(folder / "labels.npz", images=X[:, None], labels=np.array([Trap()] * 4))
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


def test_labels():
    assert check_labels(None, 3, "here") is None and label_text(None, 0) is None
    assert check_labels(np.array([[5], [6]]), 2, "here").tolist() == [5, 6]
    for wrong in (np.zeros(3), np.zeros((2, 10)), np.array(1), np.zeros((1, 2))):
        with pytest.raises(ValueError, match="here: labels of shape .* for 2 samples"):
            check_labels(wrong, 2, "here")
    kinds = [np.array([3]), np.array([3.0]), np.array([0.5]), np.array(["cat"]), np.array([b"cat"]), np.array([True])]
    assert [label_text(labels, 0) for labels in kinds] == ["3", "3", "0.5", "cat", "cat", "True"]
