"""HDF5 files as people have them, for every modality; links, odd filters and damage are told in one line."""

import multiprocessing
import pickle
import subprocess
import sys

import numpy as np
import pytest

from maskkit.data.hdf5 import DataSet
from maskkit.data.loader import read_all
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError, Key
from maskkit.modalities import audio, image, points, video
from maskkit.modalities.points.data import open_files
from maskkit.modalities.points.transforms import eval_transform
from maskkit.seeds import generator

h5py = pytest.importorskip("h5py")

DATA = np.random.default_rng(0).normal(size=(6, 40, 3)).astype(np.float32)
NORMAL = (DATA[..., ::-1] / np.linalg.norm(DATA, axis=-1, keepdims=True)).astype(np.float32)
LABEL = np.array([[3], [0], [1], [0], [30], [2]], dtype=np.uint8)
PACKED = {"compression": "gzip", "chunks": (4, 40, 3)}


def write(path, options=None, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **(options or {} if name in ("data", "normal") else {}))
    return str(path)


def modelnet40(path, **options):
    """Write the data sets of ``ply_data_train0.h5``, smaller."""
    return write(path, PACKED | options, data=DATA, faceId=np.zeros((6, 40), np.int32), label=LABEL, normal=NORMAL)


def raw(points, rng):
    return points


def rows(source):
    return np.stack([source.read(Key.of(index), generator(0)).numpy() for index in range(len(source))])


@pytest.mark.parametrize("options", [{}, {"compression": "lzf"}, {"shuffle": True, "fletcher32": True}], ids=str)
def test_modelnet40(tmp_path, options):
    source = open_files(modelnet40(tmp_path / "ply_data_train0.h5", **options), transform=raw)
    np.testing.assert_allclose(rows(source), DATA - DATA.mean(1, keepdims=True), atol=1e-6)
    assert [source.label(index) for index in range(6)] == ["3", "0", "1", "0", "30", "2"]
    assert source.path(4).endswith("ply_data_train0.h5[4]")
    with_normals = open_files(tmp_path / "ply_data_train0.h5", transform=raw, features=("normals",))
    np.testing.assert_array_equal(rows(with_normals)[..., 3:], NORMAL)


def test_scanobjectnn(tmp_path):
    path = write(tmp_path / "training_objectdataset.h5", data=DATA, label=LABEL[:, 0], mask=np.full((6, 40), -1))
    source = open_files(path, transform=raw)
    np.testing.assert_allclose(rows(source), DATA - DATA.mean(1, keepdims=True), atol=1e-6)
    assert source.label(4) == "30"


def test_an_npz_may_keep_normals_apart_too(tmp_path):
    np.savez(tmp_path / "a.npz", data=DATA, normal=NORMAL)
    source = open_files(tmp_path / "a.npz", transform=raw, features=("normals",))
    np.testing.assert_array_equal(rows(source)[..., 3:], NORMAL)


@pytest.mark.parametrize("where", ["", "*.h5", "train_files.txt"])
def test_a_folder_a_glob_and_the_authors_list_name_several_files(tmp_path, where):
    for number in range(3):
        write(tmp_path / f"ply_data_train{number}.h5", data=DATA[2 * number :][:2], label=LABEL[2 * number :][:2])
    names = [f"data/modelnet40_ply_hdf5_2048/ply_data_train{number}.h5\n" for number in range(3)]
    if where.endswith("txt"):
        (tmp_path / where).write_text("".join(names))
    source = open_files(tmp_path / where, transform=raw)
    np.testing.assert_allclose(rows(source), DATA - DATA.mean(1, keepdims=True), atol=1e-6)
    assert source.label(4) == "30" and source.path(5).endswith("ply_data_train2.h5[1]") and source.spread(2) == [0, 5]


def test_forked_workers_and_copies_read_the_same(tmp_path):
    source = open_files(modelnet40(tmp_path / "a.h5"), transform=eval_transform(32))
    alone = rows(source)  # the file is open in this process before it is forked
    for sent in (source, pickle.loads(pickle.dumps(source))):
        with multiprocessing.get_context("fork").Pool(3) as pool:
            found = pool.starmap(read_there, [(sent, index) for index in range(6)])
        np.testing.assert_array_equal(np.stack(found), alone)


def read_there(source, index):
    return source.read(Key.of(index), generator(0)).numpy()


def test_a_row_is_read_and_not_the_file(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("data", (4000, 2000, 3), np.float32)[::400] = 1.0
    code = """
import sys, resource, h5py, maskkit.data.hdf5 as hdf5
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = hdf5.DataSet(sys.argv[1], ("data",))
assert rows.shape == (4000, 2000, 3) and rows[400].min() == 1.0 and rows[399].max() == 0.0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    words = [sys.executable, "-c", code, str(tmp_path / "a.h5")]
    kib = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    assert kib < 30_000  # of 94 MiB


def waves(rng):
    return {"waves": rng.normal(0, 0.1, (3, 16_000)).astype(np.float32), "rate": np.array(8000)}


OPENED = {  # what opens a file, and what it holds
    "image": (
        lambda path: image.open_images(path, image.tiny().tokenizer),
        lambda rng: {"images": rng.random((3, 9, 9))},
    ),
    "video": (
        lambda path: video.open_videos(path, video.tiny().tokenizer),
        lambda rng: {"videos": rng.integers(0, 255, (3, 1, 20, 40, 40), dtype=np.uint8)},
    ),
    "audio": (lambda path: audio.open_audio(path, audio.tiny().tokenizer), waves),
    "points": (lambda path: points.open_clouds(path, points.tiny().tokenizer), lambda rng: {"points": DATA[:3]}),
}


@pytest.mark.parametrize("modality", OPENED)
def test_every_modality_reads_hdf5_as_npz(tmp_path, modality):
    open_one, arrays = OPENED[modality]
    named = arrays(np.random.default_rng(0)) | {"labels": np.array(["a", "b", "b"])}
    np.savez(tmp_path / "a.npz", **named)
    write(tmp_path / "a.h5", **named | {"labels": np.array(["a", "b", "b"], dtype=object)})
    packed, expected = open_one(tmp_path / "a.h5"), open_one(tmp_path / "a.npz")
    np.testing.assert_array_equal(rows(packed), rows(expected))
    assert [packed.label(index) for index in range(3)] == ["a", "b", "b"]


def linked(path, link):
    with h5py.File(path, "w") as file:
        file["label"], file["data"] = LABEL, link


def external(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (2, 3, 3), np.float32, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(path):
    layout = h5py.VirtualLayout((6, 40, 3), np.float32)
    layout[:] = h5py.VirtualSource("whole.h5", "data", (6, 40, 3))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("data", layout)


def claimed(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (2**40, 40, 3), np.float32, chunks=(1, 40, 3))[:1] = 0


def grouped(path):
    with h5py.File(path, "w") as file:
        file["train/data"] = DATA


REFUSED = {
    "external link": (
        lambda path: linked(path, h5py.ExternalLink("whole.h5", "data")),
        "data is a link, and links are",
    ),
    "soft link": (lambda path: linked(path, h5py.SoftLink("/label")), "data is a link, and links are not followed"),
    "external storage": (external, "data lies in other files"),
    "virtual": (virtual, "data lies in other files"),
    "claims": (claimed, r"data claims \[1099511627776, 40, 3\], .* bytes, of which only 480 are stored"),
    "filter": (lambda path: write(path, {"scaleoffset": 2}, data=DATA), "packed by scaleoffset, which is not read"),
    "text": (lambda path: write(path, data=np.array(["a"], dtype=object)), "data holds object, not plain numbers"),
    "group": (grouped, "holds no arrays; call the samples 'points'"),
    "shape": (lambda path: write(path, data=DATA[0]), r"\[40, 3\] of float32 are no clouds"),
    "scalar": (lambda path: write(path, data=np.float32(1)), r"\[\] of float32 are no clouds"),
    "empty": (lambda path: write(path, data=h5py.Empty("f4")), "data is empty"),
    "two": (lambda path: write(path, a=DATA, b=DATA), "holds a, b; call the samples 'points'"),
    "no hdf5": (lambda path: path.write_bytes(b"no numbers at all" * 99), "not an HDF5 file"),
    "nothing": (lambda path: path.write_bytes(b""), "empty file"),
    "cut": (lambda path: path.write_bytes(open(modelnet40(path), "rb").read()[:5000]), "truncated: its end is missing"),
    "normals": (lambda path: write(path, data=DATA, normal=NORMAL[:2]), "do not fit each other"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_one_line(tmp_path, name):
    make, reason = REFUSED[name]
    modelnet40(tmp_path / "whole.h5")
    make(tmp_path / "a.h5")
    with pytest.raises(ValueError, match=f"a.h5: .*{reason}") as error:
        open_files(tmp_path / "a.h5", transform=raw, features=("normals",) if name == "normals" else ())
    assert "\n" not in str(error.value)


def test_labels_that_do_not_fit_stop_only_what_asks_for_them(tmp_path):
    write(tmp_path / "a.h5", data=DATA, label=LABEL[1:])
    source = open_files(tmp_path / "a.h5", transform=raw)
    assert len(source) == len(DATA)
    with pytest.raises(ValueError, match=r"a.h5: labels of shape \[5, 1\] for 6 samples"):
        source.label(0)


def damaged(path, **options):
    """Write a file and overwrite the middle of its first chunk."""
    with h5py.File(modelnet40(path, **options)) as file:
        start = file["data"].id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[start + 20 : start + 60] = b"\xff" * 40
    path.write_bytes(content)
    return str(path)


def test_damage_spoils_the_rows_of_its_chunk_only(tmp_path):
    source = open_files(damaged(tmp_path / "a.h5"), transform=eval_transform(32))
    with pytest.raises(BadSampleError, match=r"a\.h5\[1\]: cannot be read: .*(filter|inflate)") as error:
        source.read(Key.of(1), generator(0))
    assert "\n" not in str(error.value) and source.read(Key.of(5), generator(0)).shape == (32, 3)
    skips = Skips(total=6, limit=1.0)
    assert [index for indices, _ in read_all(source, batch=4, skips=skips) for index in indices] == [4, 5]
    assert len(skips) == 4


def test_a_damaged_index_of_chunks_does_not_end_the_process(tmp_path):
    """HDF5 2.0 subtracts the length of a checksum from the size 0 of a chunk, and reads on from there."""
    path = modelnet40(tmp_path / "a.h5", fletcher32=True)
    with h5py.File(path) as file:
        chunk = file["data"].id.get_chunk_info(1)
    content = (tmp_path / "a.h5").read_bytes()
    place = content.index(chunk.size.to_bytes(4, "little") + bytes(4) + (4).to_bytes(8, "little"))
    (tmp_path / "a.h5").write_bytes(content[:place] + bytes(4) + content[place + 4 :])
    with pytest.raises(ValueError, match=r"a\.h5: the index of data is damaged"):
        DataSet(path, ("data",))


def test_without_h5py_one_line_says_what_installs_it(tmp_path):
    path = modelnet40(tmp_path / "a.h5")
    code = """
import sys, importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "h5py" else found(name, *rest)
from maskkit.data.hdf5 import data_sets
data_sets(sys.argv[1])
"""
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith(
        f"ImportError: {path}: HDF5 files are read by h5py; pip install 'maskkit[hdf5]'"
    )
