"""Losses that are not finite: written down, counted, and taken back."""

import json
import math

import pytest
import torch

from maskkit.engine.nonfinite import NonFinite, copy_buffers, restore_buffers


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def kept(tmp_path, writes=True, limit=3, max_rewinds=1):
    return NonFinite(tmp_path / "not_finite.jsonl", writes, limit, max_rewinds)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, math.inf), (math.inf, math.nan), (0.5, math.inf)])
def test_a_step_is_written_down_with_its_samples(tmp_path, loss, norm):
    found = kept(tmp_path)
    found.bad(7, loss, norm, ["a.png", "b.png"])
    (row,) = lines(found.file)
    assert row == {"step": 7, "loss": str(loss), "grad_norm": str(norm), "paths": ["a.png", "b.png"]}
    assert float(row["loss"]) == loss or math.isnan(loss)


def test_only_several_in_a_row_take_the_run_back(tmp_path):
    found = kept(tmp_path)
    for step in range(6):
        found.bad(step, math.nan, math.nan, [])
        if step % 2:
            found.good()
        assert not found.must_rewind(0)
    found.bad(6, math.nan, math.nan, [])
    found.bad(7, math.nan, math.nan, [])
    assert not found.must_rewind(0)
    found.bad(8, math.nan, math.nan, [])
    assert found.must_rewind(0) and found.in_a_row == 0 and found.count == 9
    assert not found.must_rewind(0)


def test_the_last_time_ends_the_run_with_advice(tmp_path):
    found = kept(tmp_path)
    for step in range(3):
        found.bad(step, math.nan, math.nan, [])
    with pytest.raises(
        FloatingPointError, match=r"3 times in a row, after going back 1 times; .*not_finite.jsonl names"
    ):
        found.must_rewind(1)


def test_a_resumed_run_counts_what_it_will_not_meet_again(tmp_path):
    before = kept(tmp_path)
    for step in (2, 5, 9):
        before.bad(step, math.nan, math.nan, [])
    found = kept(tmp_path)
    found.take_up(5)  # the run goes on with step 5, which may meet it again
    assert found.count == 1 and found.in_a_row == 0
    fresh = kept(tmp_path / "new")
    fresh.take_up(6)
    assert fresh.count == 0


def test_other_processes_count_and_write_nothing(tmp_path):
    found = kept(tmp_path, writes=False)
    found.bad(0, math.nan, math.nan, ["a"])
    assert found.count == 1 and not found.file.exists()


def test_what_a_pass_changed_by_itself_is_taken_back():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(4), torch.nn.Sequential(torch.nn.BatchNorm1d(4)))
    model[1].eval()
    copies = copy_buffers(model)
    assert {id(buffer) for buffer, _ in copies} == {id(buffer) for buffer in model[0].buffers()}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model(torch.full((3, 4), math.nan))
    assert model[0].running_mean.isnan().all() and model[0].num_batches_tracked == 1
    restore_buffers(copies)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
