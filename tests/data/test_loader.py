"""The order of samples and their random choices depend on seeds alone; broken samples are named, counted, limited."""

import gc
import itertools

import numpy as np
import pytest
import torch

from maskkit.batches import Fields
from maskkit.data.loader import Stream, load, read_all
from maskkit.data.skips import Skips
from maskkit.data.source import BadSampleError, epoch_order
from maskkit.modalities.video.survey import survey
from maskkit.seeds import generator
from tests.fuzz.seeds import seeds


class Numbers:
    """Samples that say who they are: (index, random number); some are broken."""

    def __init__(self, length=10, broken=()):
        self.length, self.broken = length, set(broken)

    def __len__(self):
        return self.length

    repeats = 1

    def read(self, key, rng):
        if key.index in self.broken:
            raise BadSampleError(self.path(key.index), "broken on purpose")
        return torch.tensor([float(key.index), torch.rand((), generator=rng).item()])

    def path(self, index):
        return f"number {index}"

    def label(self, index):
        return None


def read(source, batches, first=0, workers=0):
    return list(itertools.islice(load(source, Stream(source, 4, seed=0, first=first), workers=workers), batches))


def test_every_epoch_visits_every_sample_once_in_another_order():
    keys = [key for batch in itertools.islice(Stream(Numbers(10), 5, seed=1), 6) for key in batch]
    epochs = [[key.index for key in keys if key.epoch == number] for number in range(3)]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epoch_order(Numbers(10), 1, 0).tolist() == [[0, index, 0] for index in epochs[0]]
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
    source.order = lambda seed, epoch: np.array([[epoch + 7, index, 0] for index in (3, 3, 1, 0)])
    assert [batch.indices for batch in read(source, 2)] == [(3, 3, 1, 0)] * 2
    assert next(iter(Stream(source, 2, seed=0, first=2))) == [(8, 3, 0), (8, 3, 0)]


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
    source.read = lambda key, rng: torch.zeros(key.index + 1)
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
    skips.add((("a b.jpg", "empty file"), ("c.jpg", "not an image")))
    skips.add((("a b.jpg", "empty file"),))
    size = skips.bytes()
    skips.add((("after the checkpoint.jpg", "empty file"),))
    again = Skips(total=100, file=file)
    again.take_up(file, size, print)
    assert len(again) == 2
    again.add((("c.jpg", "not an image"), ("d.jpg", "truncated")))
    assert file.read_text().splitlines() == ["a b.jpg\tempty file", "c.jpg\tnot an image", "d.jpg\ttruncated"]
    assert len(again) == 3


@pytest.mark.parametrize(("text", "known"), [(None, 0), ("a\tempty\nb\tem", 1), ("a\tempty\nb\tempty\n", 2)])
def test_a_record_that_somebody_changed_stays_lines(tmp_path, text, known, capsys):
    file = tmp_path / "skipped.txt"
    if text is not None:
        file.write_text(text)
    skips = Skips(total=100, file=file)
    skips.take_up(file, len("a\tempty\nb\tempty\n"), print)
    skips.add((("c", "empty"),))
    assert len(skips) == known + 1 and file.read_text() == "".join(f"{name}\tempty\n" for name in skips.seen)
    assert ("bytes that it had when the run was saved" in capsys.readouterr().out) == (known < 2)


def test_too_many_broken_samples_stop_the_run(tmp_path):
    skips = Skips(total=40, limit=0.05, file=tmp_path / "skipped.txt")
    skips.add((("1", "x"), ("2", "x")))
    with pytest.raises(ValueError, match=r"3 of 40 samples cannot be read, more than the limit of 5% \(last: 3: x\)"):
        skips.add((("3", "x"),))


class Repeated(Numbers):
    """Three samples of each number; they agree on one random number and differ in another."""

    repeats = 3

    def __len__(self):
        return 3 * self.length

    def read(self, key, rng):
        assert 0 <= key.index < self.length and 0 <= key.repeat < 3
        return torch.cat([super().read(key, rng), torch.tensor([float(key.repeat), float(key.epoch)])])


def test_repeats_come_one_after_the_other_and_start_alike():
    source = Repeated(8)
    samples = torch.cat([batch.samples for batch in read(source, 12)])  # two epochs of 24
    for epoch, half in enumerate(samples.split(24)):
        groups = half.view(8, 3, 4)
        assert sorted(groups[:, 0, 0].tolist()) == list(range(8)) and set(half[:, 3].tolist()) == {epoch}
        assert (groups[:, :, :2] == groups[:, :1, :2]).all()  # the same number and the same draw
        assert (groups[:, :, 2] == torch.arange(3.0)).all()
    assert not torch.equal(samples[:24], samples[24:])


def test_a_substitute_keeps_the_epoch_and_the_repeat():
    """All repeats of a broken item become repeats of one other item."""
    batches = read(Repeated(10, broken=(0, 1, 2, 3)), 15)
    assert sum(len(batch.bad) for batch in batches) >= 8
    samples = torch.cat([batch.samples for batch in batches])
    groups = samples[:30].view(10, 3, 4)
    assert (groups[:, :, 0] == groups[:, :1, 0]).all() and (groups[:, :, 2] == torch.arange(3.0)).all()
    assert samples[:30, 3].eq(0).all() and samples[30:, 3].eq(1).all()


def test_the_seeds_of_samples_are_those_of_earlier_versions():
    """A run that an earlier version began goes on with the same samples: epoch, index and attempt name a draw."""
    batch = read(Numbers(10, broken=[3]), 3)[0]
    for key, sample in zip(batch.keys, batch.samples.tolist(), strict=True):
        broken = key.index == 3
        number = int(torch.randint(10, (), generator=generator(0, 0, 3, 0, 1))) if broken else key.index
        assert sample == [number, torch.rand((), generator=generator(0, 0, key.index, int(broken))).item()]
    assert 3 in batch.indices
    assert [key.index for key in batch.keys] == torch.randperm(10, generator=generator(0, 0))[:4].tolist()


class Named(Numbers):
    """Samples of two tensors."""

    def read(self, key, rng):
        number, draw = super().read(key, rng)
        return {"x": torch.full((3,), draw), "label": number.long()}


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 2])
def test_samples_may_hold_several_tensors(workers):
    for batch in read(Named(10, broken=[2]), 3, workers=workers):
        assert isinstance(batch.samples, Fields) and batch.samples.shape == (4,)
        assert batch.samples["x"].shape == (4, 3) and batch.samples["label"].dtype == torch.int64
        replaced = {2} if batch.bad else set()
        assert set(batch.indices) - replaced <= set(batch.samples["label"].tolist())
    skips = Skips(total=10, limit=0.5)
    together = list(read_all(Named(10, broken=[2]), batch=4, skips=skips))
    assert [len(indices) for indices, _ in together] == [samples.shape[0] for _, samples in together] == [4, 4, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="pins memory for a GPU")
def test_batches_of_both_kinds_are_pinned():
    assert read(Numbers(8), 1)[0].samples.is_pinned()
    assert all(tensor.is_pinned() for tensor in read(Named(8), 1)[0].samples.values())


def test_pinning_asks_every_tensor(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    for source, count in ((Numbers(8), 1), (Named(8), 2)):
        pinned.clear()
        batch = read(source, 1)[0]
        assert batch.pin_memory().keys == batch.keys and len(pinned) == count


def test_samples_of_different_tensors_or_types_are_refused():
    source = Numbers()
    source.read = lambda key, rng: {"x": torch.zeros(1), **({"label": torch.zeros(1)} if key.index % 2 else {})}
    with pytest.raises(ValueError, match="hold different tensors"):
        read(source, 1)
    source.read = lambda key, rng: torch.zeros(1, dtype=torch.uint8 if key.index % 2 else torch.float32)
    with pytest.raises(ValueError, match="different shapes or types: float32 .*, uint8"):
        read(source, 1)


class Collecting(Numbers):
    """Numbers, and a worker that frees what it inherited before it reads."""

    def read(self, key, rng):
        gc.collect()
        return super().read(key, rng)


def test_workers_do_not_wait_for_threads_of_videos_that_were_read_before(tmp_path, monkeypatch):
    pytest.importorskip("av")
    monkeypatch.setenv("MASKKIT_SAMPLE_SECONDS", "2")
    for name in ("h264.mp4", "vp9.webm", "mpeg4.avi"):
        path = tmp_path / name
        path.write_bytes(seeds("video")[name])
        survey(path)
    assert len(read(Collecting(), 3, workers=1)) == 3
