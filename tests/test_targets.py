"""Targets against the authors' formulas, written out."""

import pytest
import torch

from maskkit.targets import Contents, NormalizedContents
from maskkit.types import Mask, Tokens

MASK = Mask(visible=torch.tensor([[0, 3], [1, 2]]), hidden=torch.tensor([[2, 1], [3, 0]]))


@pytest.fixture
def tokens():
    return Tokens(x=torch.randn(2, 4, 12) * 3 + 1, pos=torch.arange(4.0)[None, :, None])


def hidden(tokens):
    return torch.stack([tokens.x[row, MASK.hidden[row]] for row in range(2)])


def test_contents_are_those_of_the_hidden_tokens_in_their_order(tokens):
    assert torch.equal(Contents()(tokens, MASK, None), hidden(tokens))


def test_normalised_as_mae(tokens):
    """models_mae.py forward_loss: (target - mean) / (var + 1e-6) ** .5, torch's unbiased var."""
    x = hidden(tokens)
    expected = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-6) ** 0.5
    assert torch.allclose(NormalizedContents(epsilon="inside")(tokens, MASK, None), expected, atol=1e-6)


def test_normalised_as_videomae(tokens):
    """engine_for_pretraining.py: per channel, (x - mean) / (var.sqrt() + 1e-6)."""
    x = hidden(tokens).view(2, 2, 4, 3)
    expected = (x - x.mean(-2, keepdim=True)) / (x.var(-2, unbiased=True, keepdim=True).sqrt() + 1e-6)
    target = NormalizedContents(epsilon="outside", per_channel=True, channels=3)
    assert torch.allclose(target(tokens, MASK, None), expected.flatten(2), atol=1e-6)


def test_the_two_epsilons_differ_where_a_patch_is_almost_flat(tokens):
    flat = tokens.replace(x=torch.zeros(2, 4, 12) + torch.randn(2, 4, 12) * 1e-4)
    inside = NormalizedContents(epsilon="inside")(flat, MASK, None)
    outside = NormalizedContents(epsilon="outside")(flat, MASK, None)
    assert inside.abs().max() < 0.5 < outside.abs().max()


@pytest.mark.parametrize(
    "target", [Contents(), NormalizedContents(), NormalizedContents(epsilon="outside", per_channel=True, channels=3)]
)
def test_values_turn_back_into_contents(target, tokens):
    value = target(tokens, MASK, None)
    assert torch.allclose(target.contents(value, tokens, MASK), hidden(tokens), atol=1e-5)


def test_what_cannot_be_normalised_is_refused():
    one = Tokens(x=torch.ones(2, 4, 1), pos=torch.arange(4.0)[None, :, None])
    with pytest.raises(ValueError, match="norm_target=False"):
        NormalizedContents()(one, MASK, None)
    with pytest.raises(ValueError, match="epsilon must be"):
        NormalizedContents(epsilon="none")
