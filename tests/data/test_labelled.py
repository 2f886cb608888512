"""Labels travel with samples, from any source that has them, through any number of workers."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit.batches import Fields
from maskkit.data.labelled import Labelled
from maskkit.data.loader import Stream, load
from maskkit.data.mixture import Mixture
from maskkit.data.source import Key, epoch_order
from maskkit.modalities import image
from tests.data.test_loader import Named, Numbers, Repeated


def crop_of(where):
    return image.open_images(where, image.patches(2, channels=1, image_size=8))


@pytest.fixture
def folder(tmp_path):
    """Grey pictures, each as bright as 10 times its class."""
    for name in ("2", "10", "0"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("L", (8, 8), 10 * int(name)).save(tmp_path / "pictures" / name / f"{number}.png")
    return tmp_path / "pictures"


@pytest.fixture
def archive(tmp_path):
    labels = np.array([10, 0, 2, 0])
    pixels = np.broadcast_to(10 * labels[:, None, None], (4, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "pictures.npz", images=pixels, labels=labels)
    return tmp_path / "pictures.npz"


def check(source, batches=4, workers=2):
    """Every label is that of the picture beside it."""
    classes = torch.tensor([int(name) for name in source.classes])
    for batch in itertools.islice(load(source, Stream(source, 4, seed=0), workers=workers), batches):
        assert isinstance(batch.samples, Fields) and batch.samples["label"].dtype == torch.int64
        assert torch.equal(batch.samples["x"][:, 0, 0, 0], (10 * classes[batch.samples["label"]]).byte())


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_labels_come_with_pictures_of_folders_arrays_and_mixtures(folder, archive, workers):
    for source in (crop_of(folder), crop_of(archive), Mixture((crop_of(folder), crop_of(archive)), (0.5, 0.5))):
        labelled = Labelled(source)
        assert labelled.classes == ("0", "2", "10") and len(labelled) == len(source)
        assert np.array_equal(epoch_order(labelled, 3, 1), epoch_order(source, 3, 1))
        check(labelled, workers=workers)


def test_a_broken_sample_takes_its_label_along(folder):
    (folder / "2" / "0.png").write_bytes(b"no picture")
    (folder / "0" / "1.png").write_bytes(b"no picture")
    check(Labelled(crop_of(folder)), batches=9, workers=0)


class Classes(Numbers):
    def label(self, index):
        return "dog" if index % 2 else None


def test_a_sample_without_a_class_has_label_minus_one():
    labelled = Labelled(Classes(4))
    samples = [labelled.read(Key.of(index), torch.Generator()) for index in range(4)]
    assert [int(sample["label"]) for sample in samples] == [-1, 0, -1, 0]
    assert [int(sample["x"][0]) for sample in samples] == [0, 1, 2, 3]


def test_named_tensors_and_repeats_stay():
    class Both(Repeated):
        def label(self, index):
            return f"class {index}"

    labelled = Labelled(Both(2))
    assert len(labelled) == 6 and labelled.repeats == 3
    keys = [Key(*key) for key in labelled.order(0, 0).tolist()]
    assert all(int(labelled.read(key, torch.Generator())["label"]) == key.index for key in keys)

    class Two(Named):
        def label(self, index):
            return "one"

    sample = Labelled(Two(2)).read(Key.of(1), torch.Generator())
    assert sample["x"].shape == (3,) and int(sample["label"]) == 0


def test_a_source_without_classes_is_refused_in_one_line(tmp_path):
    with pytest.raises(
        ValueError, match=r"number 0 and 2 others\) has a class; put each class into a sub-fol"
    ) as error:
        Labelled(Numbers(3))
    assert "\n" not in str(error.value)
