"""What a run will cost: operations as they are counted by hand, nothing changed, and advice where readers are slow."""

import math
import os
from dataclasses import replace

import pytest
import torch
from small import Small

from maskkit.data.source import BadSampleError
from maskkit.engine.forecast import Forecast, forecast, matrix_peak
from maskkit.engine.loop import pretrain
from maskkit.modalities import image

CPU = torch.device("cpu")


class Digits:
    """Digits, the first of which cannot be read."""

    repeats = 1

    def __init__(self, broken=0, count=40):
        self.pixels, self.broken, self.read_ones = image.sample(count), broken, []

    def __len__(self):
        return len(self.pixels)

    def read(self, key, rng):
        if key.index < self.broken:
            raise BadSampleError(self.path(key.index), "broken on purpose")
        self.read_ones.append(key.index)
        return self.pixels[key.index]

    def path(self, index):
        return f"digit {index}"

    def label(self, index):
        return None


def measured(model, source, micro=8, dtype=None):
    return forecast(model, source, CPU, torch.autocast("cpu", dtype, enabled=dtype is not None), micro)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("maskkit.engine.forecast.SHORT", 0.0)
    monkeypatch.setattr(
        "maskkit.engine.forecast.matrix_peak", lambda dtype, device: 1e9 if dtype == torch.float32 else 5e8
    )


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_forecast_counts_products_and_leaves_everything_as_it_was(dtype):
    model = Small().build().train()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    found = measured(model, Digits(), dtype=dtype)
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(tensor, weights[name]) for name, tensor in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert found.model_pace > 0 and found.reader_pace > 0 and found.peak == (1e9 if dtype is None else 5e8)


def test_operations_are_those_of_the_matrix_products():
    """Two for each multiplication: forward once, and backward twice but for what has no gradient to hand on."""
    model = Small(drop_path=0).build()
    found = measured(model, Digits(), micro=4)

    def of_blocks(tokens, dim):
        linear = tokens * dim * (3 * dim + dim + 4 * dim + 4 * dim)
        return linear + 2 * tokens * tokens * dim

    forward = 4 * 4 * 64 + 2 * of_blocks(5, 64) + 5 * 64 * 32 + of_blocks(17, 32) + 12 * 32 * 4
    assert found.flops == pytest.approx(3 * 2 * forward, rel=0.1)


def test_broken_samples_are_passed_over_and_a_source_of_nothing_else_is_named():
    assert measured(Small().build(), Digits(broken=30)).reader_pace > 0
    with pytest.raises(
        ValueError, match=r"none of 40 samples can be read \(the first: digit 0: broken on purpose\); fix"
    ):
        measured(Small().build(), Digits(broken=40))


def test_a_few_samples_go_round_where_there_are_fewer_than_a_micro_batch():
    source = Digits(count=2)
    assert measured(Small().build(), source, micro=64).flops > 0
    assert set(source.read_ones) == {0, 1}


def test_what_a_pass_keeps_grows_with_depth_and_is_close_to_what_its_blocks_keep():
    model = image.mae("tiny", image_size=8, patch_size=1, channels=1, norm_target=False)
    kept = [measured(model, Digits(), micro=micro).kept for micro in (2, 4)]
    assert kept[0] == pytest.approx(kept[1], rel=0.1)  # per sample
    of_encoder = 12 * 17 * 192 * (1 + 1 + 3 + 1 + 1 + 1 + 4) * 4  # inputs of norms and layers of 12 blocks, float32
    of_decoder = 4 * 65 * 128 * (1 + 1 + 3 + 1 + 1 + 1 + 4) * 4
    assert of_encoder + of_decoder < kept[0] < 2 * (of_encoder + of_decoder)


def test_a_run_that_does_not_fit_into_memory_is_refused_with_the_micro_batch_that_fits(settings, monkeypatch):
    monkeypatch.setattr("maskkit.engine.loop.total_memory", lambda device: 4 * 2**20)
    with pytest.raises(
        ValueError, match=r"^32 samples in one pass need .* GiB; set --micro-batch to at most (\d+)$"
    ) as no:
        pretrain(replace(settings, batch=32, steps=1), image)
    fits = 2 ** int(math.log2(int(str(no.value).split()[-1])))  # it divides the batch
    assert (pretrain(replace(settings, batch=32, micro_batch=fits, steps=1), image) / "model.safetensors").exists()
    monkeypatch.setattr("maskkit.engine.loop.total_memory", lambda device: 2**20)
    with pytest.raises(ValueError, match=r"^the model has 0 M parameters, which need .* choose a smaller --size$"):
        pretrain(replace(settings, out=settings.out / "other", steps=1), image)


FOUND = Forecast(parameters=5_000_000, flops=2 * 10**9, peak=1e12, model_pace=100.0, reader_pace=20.0)


@pytest.mark.parametrize(
    ("workers", "slow", "words"),
    [(0, True, "without workers"), (1, True, "in 1 workers"), (6, os.cpu_count() < 6, "in 6 workers")],
)
def test_slow_readers_are_said(workers, slow, words):
    lines = FOUND.lines(steps=1000, batch=50, processes=2, workers=workers)
    assert lines[0] == "5.0 M parameters, 2.00 GFLOP a sample forward and backward; 1,000 steps of 50 samples"
    assert lines[1] == "about 200 samples/s, 4:10 in all (20% of the 1.00 TFLOP/s measured here)"
    assert len(lines) == 2 + slow
    if slow:
        assert words in lines[2] and "raise --workers" in lines[2] and f"({os.cpu_count()} cores here)" in lines[2]


def test_the_peak_is_that_of_the_fastest_of_several_products(monkeypatch):
    calls = []
    times = iter([3.0, 1.0, 2.0])
    monkeypatch.setattr("maskkit.engine.forecast._time", lambda work, device: calls.append(work) or next(times))
    assert matrix_peak(torch.float32, CPU, repeats=3) == 2 * 2048**3 and len(calls) == 3
