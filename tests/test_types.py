"""Masks and what they may name; tokens, latents, and the two ways to move contents."""

import pytest
import torch

from maskkit.types import Latent, Mask, Query, Span, Tokens, put, take

TOKENS = Tokens(x=torch.zeros(2, 6, 3), pos=torch.zeros(1, 6, 1))
I, F = torch.int64, torch.float32  # noqa: E741


def index(*rows):
    return torch.tensor(rows, dtype=I).view(2, -1)


def weight(*rows):
    return torch.tensor(rows, dtype=F)


VISIBLE, HIDDEN = index([0, 1], [2, 3]), index([2, 3, 3, 4], [0, 1, 1, 5])
EVEN = weight([1, 1, 1, 1], [1, 1, 1, 0.0])

GOOD = {
    "a token in two blocks": {"hidden": HIDDEN, "blocks": 2},
    "tokens in neither": {"hidden": index([2], [0])},
    "nothing visible": {"visible": index([], []), "hidden": index([0, 1], [5, 4])},
    "int32": {"visible": VISIBLE.int(), "hidden": index([2], [0]).int()},
    "weights": {"hidden": HIDDEN, "blocks": 2, "weight": EVEN},
    "a weight of 0 fills up": {"hidden": index([2, 2], [0, 1]), "weight": weight([1, 0], [1, 1])},
    "filled up with a visible token": {"hidden": index([4, 0], [0, 1]), "weight": weight([1, 0], [1, 1])},
    "named sets": {"hidden": index([2], [0]), "sets": {"a": Query(HIDDEN, EVEN, 2), "b": Query(VISIBLE)}},
}
BAD = {
    "within a block": ({"hidden": HIDDEN}, "mask names token 3 of sample 0 more than once in a block of hidden"),
    "visible twice": (
        {"visible": index([0, 0], [1, 2])},
        "token 0 of sample 0 more than once in visible; name it once",
    ),
    "both": ({"hidden": index([4], [3])}, "token 3 of sample 1 more than once; visible and hidden are disjoint"),
    "unequal blocks": ({"hidden": HIDDEN, "blocks": 3}, "mask.hidden of 4 tokens cannot be made of 3 equal blocks"),
    "no block": ({"blocks": 0}, "cannot be made of 0 equal blocks"),
    "nothing hidden": ({"hidden": index([], [])}, "mask.hidden names no token; leave at least one to predict"),
    "outside": ({"hidden": index([6], [0])}, r"mask.hidden must lie in \[0, 6\), got \[0, 6\]"),
    "negative": ({"visible": index([-1], [0])}, r"mask.visible must lie in \[0, 6\), got \[-1, 0\]"),
    "another batch": ({"hidden": torch.tensor([[4]])}, r"mask.hidden must be \[2 K\] for this batch, got \[1, 1\]"),
    "floats": ({"hidden": torch.zeros(2, 1)}, "must hold integer indices, got torch.float32"),
    "booleans": ({"hidden": torch.ones(2, 1, dtype=torch.bool)}, "a boolean mask is no Mask"),
    "a weight too many": ({"weight": weight([1, 1], [1, 1])}, r"weight of mask.hidden must be \[2, 1\], got \[2, 2\]"),
    "a weight above 1": ({"weight": weight([2], [1])}, r"weight of mask.hidden must lie in \[0, 1\]"),
    "a weight of nothing": ({"weight": weight([0], [0])}, "must not be 0 everywhere"),
    "nan": ({"weight": weight([float("nan")], [1])}, r"must lie in \[0, 1\]"),
    "in a set": ({"sets": {"a": Query(index([1, 1], [2, 3]))}}, r"once in a block of sets\['a'\]"),
    "an empty set": ({"sets": {"a": Query(index([], []))}}, r"mask.sets\['a'\] names no token"),
}


def mask(**changes):
    return Mask(**{"visible": VISIBLE, "hidden": index([4], [5]), **changes})


@pytest.mark.parametrize("name", GOOD)
def test_masks_that_fit(name):
    mask(**GOOD[name]).check(TOKENS)


@pytest.mark.parametrize("name", BAD)
def test_masks_that_do_not_fit_are_one_line(name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=message) as caught:
        mask(**changes).check(TOKENS)
    assert "\n" not in str(caught.value)


def test_asking_puts_another_set_in_the_place_of_the_hidden_one():
    found = mask(hidden=HIDDEN, blocks=2, weight=EVEN, sets={"a": Query(index([5], [4]), weight([1], [0.5]), 1)})
    assert found.asking("hidden") is found
    seen = found.asking("visible")
    assert seen.hidden is found.visible and seen.weight is None and seen.blocks == 1
    named = found.asking("a")
    assert named.hidden.tolist() == [[5], [4]] and named.weight.tolist() == [[1], [0.5]] and named.blocks == 1
    assert named.visible is found.visible and named.sets is found.sets
    with pytest.raises(ValueError, match="the mask has no set 'b', it has hidden, visible, a; choose one"):
        found.asking("b")


def test_a_mask_moves_as_a_whole():
    scores = torch.rand(2, 6)
    found = mask(weight=weight([1], [1]), sets={"a": Query(HIDDEN, EVEN, 2), "b": Query(VISIBLE)}, scores=scores)
    moved = found.to("meta")
    tensors = [moved.visible, moved.hidden, moved.weight, moved.scores, moved.sets["a"].index, moved.sets["a"].weight]
    assert all(tensor.device.type == "meta" for tensor in tensors)
    assert moved.sets["b"].weight is None and moved.sets["a"].blocks == 2


@pytest.mark.parametrize("hidden", [torch.zeros(2, 0, dtype=I), torch.tensor([[4]]), torch.tensor([0])])
def test_hiding_what_is_not_there_is_refused(hidden):
    with pytest.raises(ValueError, match=r"hidden must be \[B H\] of indices in \[0, 4\)"):
        Mask.hide(hidden, num_tokens=4)


def test_tokens_of_several_kinds_and_a_copy_with_changes():
    spans = {"image": Span(0, 4, dim=3, grid=(2, 2)), "text": Span(4, 6, dim=2)}
    tokens = Tokens(x=torch.zeros(2, 6, 3), pos=torch.zeros(1, 6, 1), spans=spans)
    assert tokens.shape == (2, 6) and tokens.spans["text"].stop == 6 and tokens.spans["text"].grid is None
    changed = tokens.replace(x=torch.ones(2, 6, 3), grid=(6,))
    assert changed.grid == (6,) and changed.spans is spans and tokens.grid is None and not tokens.x.any()
    with pytest.raises(AttributeError):
        tokens.x = None


def test_put_is_the_inverse_of_take():
    x, order = torch.rand(2, 6, 3), torch.rand(2, 6).argsort(dim=1)
    assert torch.equal(put(torch.zeros_like(x), order, take(x, order)), x)
    shared = take(x[:1], order)
    assert torch.equal(shared[1], x[0, order[1]])
    before = x.clone()
    put(x, order[:, :2], torch.zeros(2, 2, 3))
    assert torch.equal(x, before)  # a copy


def test_pooling_leaves_padding_and_prefix_out():
    tokens, prefix = torch.rand(2, 4, 3), torch.full((2, 1, 3), 9.0)
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    pooled = Latent(tokens, prefix, valid).pooled
    assert torch.allclose(pooled, torch.stack([tokens[0].mean(0), tokens[1, :2].mean(0)]))
    assert torch.allclose(Latent(tokens, prefix).pooled, tokens.mean(1))


@pytest.mark.parametrize("full", [True, False])
def test_latents_of_several_batches_come_apart(full):
    pieces = [
        Latent(
            torch.rand(2, 4, 3),
            torch.rand(2, 1, 3),
            torch.rand(2, 4) > 0.5 if full else None,
            (torch.rand(2, 5, 3), torch.rand(2, 5, 3)) if full else (),
            (2, 2) if full else None,
        )
        for _ in range(3)
    ]
    whole = Latent(
        torch.cat([each.tokens for each in pieces]),
        torch.cat([each.prefix for each in pieces]),
        torch.cat([each.valid for each in pieces]) if full else None,
        tuple(torch.cat(level) for level in zip(*(each.levels for each in pieces), strict=True)),
        pieces[0].grid,
    )
    for one, other in zip(whole.split(3), pieces, strict=True):
        assert torch.equal(one.tokens, other.tokens) and torch.equal(one.prefix, other.prefix)
        assert one.grid == other.grid and len(one.levels) == len(other.levels)
        assert all(torch.equal(a, b) for a, b in zip(one.levels, other.levels, strict=True))
        assert (one.valid is None) == (not full) and (not full or torch.equal(one.valid, other.valid))
    assert whole.split(1) == (whole,)
