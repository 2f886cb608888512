"""A mixture gives each source its share, in its own order, whatever is resumed where."""

import itertools
import json

import numpy as np
import pytest
import torch
from PIL import Image

from maskkit.data.loader import Stream, load
from maskkit.data.mixture import Mixture, open_mixture, split_mixture
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError, Key, epoch_order, keys_of
from maskkit.modalities import image
from maskkit.modalities.image.survey import measure, survey
from maskkit.seeds import seed_of


class Named:
    """Samples that say which source they come from and how chance fell; some are broken."""

    def __init__(self, name, length, broken=(), kind=torch.float32):
        self.name, self.length, self.broken, self.kind = name, length, set(broken), kind

    def __len__(self):
        return self.length

    repeats = 1

    def read(self, key, rng):
        if key.index in self.broken:
            raise BadSampleError(self.path(key.index), "broken on purpose")
        return torch.tensor([self.name, key.index, torch.rand((), generator=rng).item()]).to(self.kind)

    def path(self, index):
        return f"{self.name}/{index}"

    def label(self, index):
        return str(self.name)


class InRuns(Named):
    """A source with an order of its own."""

    def order(self, seed, epoch):
        return keys_of(epoch, (np.arange(self.length) + epoch) % self.length)


def drawn(mixture, epochs, seed=0):
    """Keys of some epochs, those of each source as (epoch, index in the source)."""
    keys = np.concatenate([mixture.order(seed, epoch) for epoch in range(epochs)])
    bounds = np.concatenate([[0], np.cumsum([len(source) for source in mixture.sources])])
    return [
        [(epoch, index - low) for epoch, index, _ in keys.tolist() if low <= index < high]
        for low, high in itertools.pairwise(bounds.tolist())
    ]


@pytest.mark.parametrize(
    ("lengths", "weights", "shares"),
    [
        ([100, 50], [0.7, 0.3], (105, 45)),
        ([100, 50], [7, 3], (105, 45)),  # weights need not add up to 1
        ([10, 10, 10], [1, 1, 1], (10, 10, 10)),
        ([5, 5], [1, 2], (3, 7)),  # 3.33 and 6.67
        ([4, 4, 2], [1, 1, 1], (4, 3, 3)),  # equal remainders: the first
        ([1000, 1], [0.999, 0.001], (1000, 1)),
        ([8], [3.5], (8,)),
    ],
)
def test_shares_are_exact_in_every_epoch(lengths, weights, shares):
    mixture = Mixture(tuple(Named(n, length) for n, length in enumerate(lengths)), tuple(weights))
    assert mixture.shares == shares and sum(shares) == len(mixture) == sum(lengths)
    for epoch in range(4):
        found = mixture.order(0, epoch)[:, 1]
        counts = np.histogram(found, bins=np.concatenate([[0], np.cumsum(lengths)]) - 0.5)[0]
        assert tuple(counts) == shares


def test_each_source_walks_through_its_own_epochs():
    mixture = Mixture((Named(0, 40), Named(1, 7), InRuns(2, 5)), (0.2, 0.5, 0.3))
    for source, keys in zip(mixture.sources, drawn(mixture, 9), strict=True):
        assert len(set(keys)) == len(keys) == 9 * mixture.shares[mixture.sources.index(source)]
        # the n-th epoch of its own comes whole before the next, whatever epochs of the mixture it spans
        for start in range(0, len(keys) - len(source) + 1, len(source)):
            part = keys[start : start + len(source)]
            assert {epoch for epoch, _ in part} == {start // len(source)}
            assert sorted(index for _, index in part) == list(range(len(source)))
    runs = drawn(mixture, 9)[2]
    assert runs[:10] == [(0, n) for n in range(5)] + [(1, (n + 1) % 5) for n in range(5)]


def test_an_order_depends_on_seed_and_epoch_alone():
    def make():
        return Mixture((Named(0, 40), InRuns(1, 7)), (0.6, 0.4))

    one, mixture = make(), make()
    later = mixture.order(5, 3)
    for epoch in range(3):
        mixture.order(5, epoch)
    assert np.array_equal(later, one.order(5, 3)) and np.array_equal(later, mixture.order(5, 3))
    orders = [mixture.order(seed, epoch)[:, 1].tobytes() for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == 9
    assert np.array_equal(epoch_order(mixture, 5, 3), later)


def test_sources_of_equal_length_do_not_go_in_step():
    first, second = drawn(Mixture((Named(0, 50), Named(1, 50)), (1, 1)), 1)
    assert first != second


def test_sources_are_mixed_all_along():
    keys = Mixture((Named(0, 600), Named(1, 400)), (0.5, 0.5)).order(0, 0)
    shares = (keys[:, 1] < 600).reshape(10, 100).mean(axis=1)
    assert (shares > 0.3).all() and (shares < 0.7).all()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 3])
def test_a_run_over_a_mixture_can_start_anywhere(workers):
    mixture = Mixture((Named(0, 11), Named(1, 3, broken=[1])), (0.5, 0.5))

    def batches(first, count):
        return list(itertools.islice(load(mixture, Stream(mixture, 4, seed=1, first=first), workers=workers), count))

    whole, rest = batches(0, 8), batches(5, 3)
    for one, other in zip(whole[5:], rest, strict=True):
        assert torch.equal(one.samples, other.samples) and one.indices == other.indices and one.bad == other.bad
    skips = Skips(total=len(mixture), limit=0.5)
    for batch in whole:
        skips.add(batch.bad)
    assert list(skips.seen) == ["1/1"]


def test_a_sample_that_comes_twice_in_an_epoch_falls_differently():
    mixture = Mixture((Named(0, 60), Named(1, 2)), (0.5, 0.5))
    batches = itertools.islice(load(mixture, Stream(mixture, 31, seed=0)), 2)
    rows = [row for batch in batches for row in batch.samples.tolist() if row[0] == 1 and row[1] == 0]
    assert len(rows) in (15, 16)  # of 31 draws from two samples
    assert len({chance for _, _, chance in rows}) == len(rows)


def test_samples_keep_the_names_and_labels_of_their_source():
    mixture = Mixture((Named(0, 4), Named(1, 3)), (1, 1))
    assert [mixture.path(index) for index in (0, 3, 4, 6)] == ["0/0", "0/3", "1/0", "1/2"]
    assert mixture.label(6) == "1" and mixture.read(Key.of(5), torch.Generator())[:2].tolist() == [1, 1]
    for index in (-1, 7):
        with pytest.raises(IndexError):
            mixture.path(index)


@pytest.mark.parametrize(
    ("lengths", "weights", "words"),
    [
        ([3, 3], [1, 0], "the weights of a mixture must be positive, got 0"),
        ([3, 3], [1, -0.5], "must be positive, got -0.5"),
        ([3, 3], [1, float("nan")], "must be positive, got nan"),
        ([3, 3], [1, float("inf")], "must be positive, got inf"),
        ([3, 3], [1], "one weight a source, got 1 for 2"),
        ([], [], "one weight a source"),
        ([3, 0], [1, 1], "source 2 of the mixture is empty"),
        ([3, 3], [1, 1e-6], "weight 1e-06 gets none of the 6 samples of an epoch"),
    ],
)
def test_what_makes_no_mixture(lengths, weights, words):
    with pytest.raises(ValueError, match=words):
        Mixture(tuple(Named(n, length) for n, length in enumerate(lengths)), tuple(weights))


class TestText:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("0.7*path/a + 0.3*path/b", [(0.7, "path/a"), (0.3, "path/b")]),
            (" 2 * a  +  1e-1 * b c ", [(2.0, "a"), (0.1, "b c")]),
            (
                "1*a/*.jpg + .5*b/**/*.png + 3*s-{0..3}.tar",
                [(1.0, "a/*.jpg"), (0.5, "b/**/*.png"), (3.0, "s-{0..3}.tar")],
            ),
            ("1*s3://bucket/a + 1*file:///b", [(1.0, "s3://bucket/a"), (1.0, "file:///b")]),
            ("1*me + you/a + 2*b", [(1.0, "me + you/a"), (2.0, "b")]),  # a plus that no weight follows is a name's
            ("path/a", [(1.0, "path/a")]),
            ("2*.jpg", [(1.0, "2*.jpg")]),
            ("0.5*a", [(1.0, "0.5*a")]),  # one part is a glob
            ("1*a+1*b", [(1.0, "1*a+1*b")]),  # without blanks, too
            ("me + you/*.jpg", [(1.0, "me + you/*.jpg")]),
        ],
    )
    def test_what_is_a_mixture_and_what_a_path(self, text, expected):
        assert split_mixture(text) == expected

    def test_what_exists_as_written_is_a_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "1*a + 2*b").mkdir()
        assert split_mixture("1*a + 2*b") == [(1.0, "1*a + 2*b")]
        (tmp_path / "1x + 2y").mkdir()
        assert split_mixture("1* + 2*") == [(1.0, "1* + 2*")]

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("1*a + -2*b", "must be positive, got -2"),
            ("0*a + 2*b", "must be positive, got 0"),
            ("nan*a + 2*b", "must be positive, got nan"),
            ("a + 2*b", "'a' must be a weight and a path"),
            ("2*a + b", "each part of a mixture needs a weight"),
        ],
    )
    def test_errors_name_the_text(self, text, words):
        with pytest.raises(ValueError, match=words) as error:
            split_mixture(text)
        assert text in str(error.value) and "\n" not in str(error.value)

    def test_samples_that_do_not_stack_are_refused(self):
        kinds = {"a": Named(0, 3, broken=[0]), "b": Named(1, 3, kind=torch.uint8)}
        with pytest.raises(ValueError, match=r"samples of a are float32 \[3\], those of b uint8 \[3\]"):
            open_mixture("1*a + 1*b", kinds.__getitem__)
        kinds["b"] = Named(1, 3, broken=[0, 1, 2])  # nothing to compare; the run names them
        assert len(open_mixture("1*a + 1*b", kinds.__getitem__)) == 6
        assert open_mixture("a", kinds.__getitem__) is kinds["a"]


class TestPictures:
    def folder(self, path, count, grey, size=8):
        path.mkdir()
        for number in range(count):
            Image.new("L", (size, size), grey).save(path / f"{number}.png")
        return path

    def test_a_mixture_opens_as_training_data(self, tmp_path):
        dark, light = self.folder(tmp_path / "dark", 30, 10), self.folder(tmp_path / "light", 10, 200)
        source = image.open_data(f"0.25*{dark} + 0.75*{light}/*.png", image.tiny().tokenizer, train=True)
        batch = next(load(source, Stream(source, 40, seed=0)))
        assert (batch.samples > 100).flatten(1).all(1).sum() == 30
        assert source.path(35) == f"{light}/5.png"

    def test_defaults_are_chosen_for_the_mixture(self, tmp_path):
        dark = self.folder(tmp_path / "dark", 30, 51, size=20)
        light = self.folder(tmp_path / "light", 10, 204, size=64)
        text = f"1*{dark} + 3*{light}"
        seen = survey(text)
        assert (seen.count, seen.height, seen.channels) == (40, 64, 1)
        mean, std = measure(text)
        values, weights = np.array([0.2, 0.8]), np.array([0.25, 0.75])
        expected = (weights * values).sum()
        assert mean == pytest.approx((expected,))
        assert std == pytest.approx((np.sqrt((weights * (values - expected) ** 2).sum()),))

    def test_bytes_and_floats_are_not_mixed(self, tmp_path):
        dark = self.folder(tmp_path / "dark", 3, 51)
        np.save(tmp_path / "floats.npy", np.zeros((4, 1, 8, 8), np.float32))
        text = f"1*{dark} + 1*{tmp_path}/floats.npy"
        with pytest.raises(ValueError, match=r"uint8 \[1, 8, 8\], those of .*floats\.npy float32 \[1, 8, 8\]"):
            image.open_data(text, image.tiny().tokenizer)
        with pytest.raises(ValueError, match="some parts hold uint8 images, others floats"):
            survey(text)

    def test_shards_in_a_mixture_keep_to_their_windows(self, tmp_path):
        from maskkit.cli import main

        dark = self.folder(tmp_path / "dark", 30, 10)
        assert main(["shard", str(dark), str(tmp_path / "shards"), "--only", "image"]) == 0
        assert json.loads((tmp_path / "shards" / "counts.json").read_text()) == {"shard-000000.tar": {".png": 30}}
        light = self.folder(tmp_path / "light", 30, 200)
        source = image.open_data(f"1*{tmp_path}/shards + 1*{light}", image.tiny().tokenizer)
        own = [index for _, index in drawn(source, 1)[0]]
        assert own == epoch_order(source.sources[0], seed_of(0, 0), 0)[:, 1].tolist()
        batch = next(load(source, Stream(source, 60, seed=0)))
        assert (batch.samples > 100).flatten(1).all(1).sum() == 30
