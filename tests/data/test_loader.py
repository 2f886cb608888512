"""The order of samples and their random choices depend on seeds alone; broken samples are named, counted, limited."""

import itertools

import numpy as np
import pytest
import torch

from maskkit.data.loader import Stream, load, read_all
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError, epoch_order
from maskkit.seeds import generator


class Numbers:
    """Samples that say who they are: (index, random number); some are broken."""

    def __init__(self, length=10, broken=()):
        self.length, self.broken = length, set(broken)

    def __len__(self):
        return self.length

    def read(self, index, rng):
        if index in self.broken:
            raise BadSampleError(self.path(index), "broken on purpose")
        return torch.tensor([float(index), torch.rand((), generator=rng).item()])

    def path(self, index):
        return f"number {index}"

    def label(self, index):
        return None


def read(source, batches, first=0, workers=0):
    return list(itertools.islice(load(source, Stream(source, 4, seed=0, first=first), workers=workers), batches))


def test_every_epoch_visits_every_sample_once_in_another_order():
    keys = [key for batch in itertools.islice(Stream(Numbers(10), 5, seed=1), 6) for key in batch]
    epochs = [[index for epoch, index in keys if epoch == number] for number in range(3)]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epoch_order(Numbers(10), 1, 0).tolist() == [[0, index] for index in epochs[0]]
    assert epoch_order(Numbers(10), 2, 0)[:, 1].tolist() != epochs[0]


def test_a_stream_goes_on_where_it_was_left_across_epochs():
    whole = list(itertools.islice(Stream(Numbers(7), 3, seed=5), 9))
    assert list(itertools.islice(Stream(Numbers(7), 3, seed=5, first=4), 5)) == whole[4:]


@pytest.mark.parametrize("processes", [2, 3])
def test_processes_share_out_the_same_samples(processes):
    whole = list(itertools.islice(Stream(Numbers(7), 3, seed=5), 12))
    shares = [Stream(Numbers(7), 3, seed=5, first=rank, stride=processes) for rank in range(processes)]
    streams = [itertools.islice(share, 12 // processes) for share in shares]
    assert [keys for together in zip(*streams, strict=True) for keys in together] == whole


def test_a_source_may_have_an_order_of_its_own():
    source = Numbers(4)
    source.order = lambda seed, epoch: np.array([[epoch + 7, index] for index in (3, 3, 1, 0)])
    assert [batch.indices for batch in read(source, 2)] == [(3, 3, 1, 0)] * 2
    assert next(iter(Stream(source, 2, seed=0, first=2))) == [(8, 3), (8, 3)]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [1, 3])
def test_samples_do_not_depend_on_the_number_of_workers(workers):
    source = Numbers(11, broken=[3])
    for one, other in zip(read(source, 6), read(source, 6, workers=workers), strict=True):
        assert torch.equal(one.samples, other.samples) and one.indices == other.indices and one.bad == other.bad


def test_samples_do_not_depend_on_where_the_run_was_interrupted():
    source = Numbers(11)
    whole, rest = read(source, 6), read(source, 3, first=3)
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(whole[3:], rest, strict=True))


def test_a_sample_draws_anew_every_epoch():
    seen = {}
    for batch in read(Numbers(4), 3):
        for index, number in batch.samples.tolist():
            seen.setdefault(index, set()).add(number)
    assert all(len(numbers) == 3 for numbers in seen.values())


def test_a_generator_depends_on_each_of_its_numbers():
    draws = [torch.rand((), generator=generator(*n)).item() for n in ((0, 1), (1, 0), (0, 1, 0), (0,), (2**40, 1))]
    assert len(set(draws)) == len(draws)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    read(Numbers(), 2)
    read(Numbers(), 2, workers=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_broken_sample_is_replaced_and_named():
    batches = read(Numbers(10, broken=[2, 5]), 5)
    assert not {2.0, 5.0} & {index for batch in batches for index in batch.samples[:, 0].tolist()}
    assert {path for batch in batches for path, _ in batch.bad} == {"number 2", "number 5"}
    assert all(len(batch.samples) == 4 for batch in batches)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_but_broken_samples_ends_with_one_line(workers):
    with pytest.raises(ValueError, match="100 samples in a row cannot be read.*broken on purpose") as error:
        read(Numbers(3, broken=[0, 1, 2]), 1, workers=workers)
    assert "\n" not in str(error.value)


def test_samples_of_different_shapes_are_refused():
    source = Numbers()
    source.read = lambda index, rng: torch.zeros(index + 1)
    with pytest.raises(ValueError, match="different shapes"):
        read(source, 1)


def test_read_all_leaves_broken_samples_out_and_loses_no_other():
    skips = Skips(total=10, limit=0.5)
    read_ = list(read_all(Numbers(10, broken=[0, 9]), batch=3, skips=skips))
    assert [index for indices, _ in read_ for index in indices] == list(range(1, 9))
    assert len(skips) == 2


def test_each_broken_sample_is_written_once_also_over_a_resume(tmp_path):
    file = tmp_path / "skipped.txt"
    skips = Skips(total=100, file=file)
    skips.add((("a b.jpg", "empty file"), ("c.jpg", "not a picture")))
    skips.add((("a b.jpg", "empty file"),))
    size = skips.bytes()
    skips.add((("after the checkpoint.jpg", "empty file"),))
    again = Skips(total=100, file=file)
    again.take_up(file, size)
    assert len(again) == 2
    again.add((("c.jpg", "not a picture"), ("d.jpg", "truncated")))
    assert file.read_text().splitlines() == ["a b.jpg\tempty file", "c.jpg\tnot a picture", "d.jpg\ttruncated"]
    assert len(again) == 3


def test_too_many_broken_samples_stop_the_run(tmp_path):
    skips = Skips(total=40, limit=0.05, file=tmp_path / "skipped.txt")
    skips.add((("1", "x"), ("2", "x")))
    with pytest.raises(ValueError, match=r"3 of 40 samples cannot be read, more than the limit of 5% \(last: 3: x\)"):
        skips.add((("3", "x"),))


def test_a_substitute_keeps_what_an_order_puts_above_the_length():
    """Repeated videos carry a number that stands for the epoch in multiples of the length."""

    class Ordered(Numbers):
        def order(self, seed, epoch):
            return np.stack([np.full(10, epoch), 30 + np.arange(10)], axis=1)

        def read(self, index, rng):
            assert index // 10 == 3, f"index {index} has lost its number"
            return super().read(index % 10, rng)

    batches = read(Ordered(broken=(0, 1, 2, 3)), 5)
    assert sum(len(batch.bad) for batch in batches) >= 8
