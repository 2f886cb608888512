"""Batches of one tensor, of several by name, and of samples of any size."""

import pickle

import pytest
import torch
from torch.utils.data import DataLoader

from maskkit.batches import Fields, batch_size, input_of, stack, tensor_of


def fields(count=3):
    return Fields(x=torch.rand(count, 1, 4), label=torch.arange(count))


def same(one, other):
    return [*one] == [*other] and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_fields_go_through_pickle(protocol):
    batch = fields()
    again = pickle.loads(pickle.dumps(batch, protocol))
    assert isinstance(again, Fields) and same(batch, again) and again.shape == (3,)


def test_fields_come_from_worker_processes():
    samples = [{"x": torch.rand(1, 4), "label": torch.tensor(number)} for number in range(4)]
    loader = DataLoader(samples, batch_size=2, num_workers=1, collate_fn=stack, timeout=60)
    for number, batch in enumerate(loader):
        assert isinstance(batch, Fields) and same(batch, stack(samples[2 * number : 2 * number + 2]))


def test_fields_are_a_mapping_that_moves():
    batch = fields()
    assert len(batch) == 2 and "x" in batch and dict(batch).keys() == {"x", "label"} and batch.shape == (3,)
    moved = batch.to("meta", non_blocking=True)
    assert isinstance(moved, Fields) and all(x.device.type == "meta" for x in moved.values())
    with pytest.raises(KeyError):
        batch["y"]


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "a batch of named tensors needs at least one tensor"),
        ({"x": torch.zeros(3), "y": torch.zeros(2)}, "same number of samples, got {'x': 3, 'y': 2}"),
    ],
)
def test_fields_that_are_no_batch_are_refused(tensors, message):
    with pytest.raises(ValueError, match=message):
        Fields(**tensors)


def test_samples_stack():
    rows = [torch.rand(1, 4) for _ in range(3)]
    assert torch.equal(stack(rows), torch.stack(rows))
    named = [{"x": row, "label": torch.tensor(number)} for number, row in enumerate(rows)]
    batch = stack(named)
    assert (
        isinstance(batch, Fields)
        and torch.equal(batch["x"], torch.stack(rows))
        and batch["label"].tolist() == [0, 1, 2]
    )
    turned = [dict(reversed(sample.items())) if number else sample for number, sample in enumerate(named)]
    assert same(stack(turned), batch)  # names in another order are the same names


X = torch.zeros(2)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "a batch needs at least one sample"),
        ([X, torch.zeros(3)], r"'sample' of one batch have different shapes or types: float32 \(2,\), float32 \(3,\)"),
        ([X, X.double()], r"float32 \(2,\), float64 \(2,\); crop or pad them alike"),
        ([X, {"x": X}], "different shapes or types"),
        ([{"x": X}, X], "samples of one batch hold different tensors"),
        ([{"x": X}, {"x": X, "y": X}], r"hold different tensors: \('x',\), \('x', 'y'\)"),
        ([{"x": X}, {"x": torch.zeros(3)}], r"tensors 'x' of one batch have different shapes"),
    ],
)
def test_samples_that_do_not_stack_are_refused(samples, message):
    with pytest.raises(ValueError, match=message):
        stack(samples)


def test_what_a_tokenizer_of_one_tensor_cuts():
    batch, rows = fields(), [torch.zeros(1, 4), torch.zeros(1, 6)]
    assert input_of(batch) is batch["x"] and tensor_of(batch) is batch["x"]
    assert input_of(rows) is rows and input_of(X) is X and tensor_of(X) is X
    assert [batch_size(each) for each in (batch, rows, torch.zeros(5, 2))] == [3, 2, 5]
    with pytest.raises(ValueError, match="has tensors a, b and none named x; name the model's input x"):
        input_of(Fields(a=X, b=X))
    with pytest.raises(ValueError, match="one tensor is needed, got a list of 2; pad the samples to one size"):
        tensor_of(rows)
