"""Stacks of blocks: slices, levels that are kept, and blocks that are computed again."""

import pytest
import torch
from torch import nn

from maskkit.layers import Blocks, BlockStack, CrossBlocks, init_mae_weights
from maskkit.windows import WindowBlocks


def stack(**settings):
    torch.manual_seed(0)
    return Blocks(dim=16, depth=4, heads=2, **settings)


X = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("chosen", [slice(-2, None), slice(1, 3), slice(None), slice(4, None)])
def test_a_slice_is_a_list_of_the_same_blocks(chosen):
    blocks = stack(keep=(1,))
    found = blocks[chosen]
    assert type(found) is nn.ModuleList
    assert len(found) == len([*blocks][chosen])
    assert all(a is b for a, b in zip(found, [*blocks][chosen], strict=True))


def test_one_block_by_its_number():
    blocks = stack()
    assert blocks[-1] is [*blocks][3] and blocks[0] is [*blocks][0]
    with pytest.raises(IndexError):
        blocks[4]


@pytest.mark.parametrize("keep", [(), (0,), (4,), (0, 2, 4), (0, 1, 2, 3, 4)])
def test_levels_are_the_tokens_after_so_many_blocks(keep):
    blocks, levels = stack(keep=keep).eval(), []
    found, x, wanted = blocks(X, levels=levels), X, [X]
    for block in blocks:
        x = block(x)
        wanted.append(x)
    assert torch.equal(found, x) and len(levels) == len(keep)
    assert all(torch.equal(level, wanted[number]) for level, number in zip(levels, keep, strict=True))
    assert torch.equal(blocks(X), x)  # without a list nothing is kept


@pytest.mark.parametrize("keep", [(5,), (-1,), (2, 1), (1, 1)])
def test_levels_that_do_not_exist_are_refused(keep):
    with pytest.raises(ValueError, match="keep must hold numbers of blocks from 0 to 4 in ascending order"):
        stack(keep=keep)


def gradients(blocks, *inputs, **settings):
    torch.manual_seed(1)  # stochastic depth
    x = inputs[0].clone().requires_grad_()
    levels = []
    extra = {"levels": levels} if isinstance(blocks, Blocks) else {}
    found = blocks(x, *inputs[1:], **settings, **extra)
    (found.square().sum() + sum(level.square().sum() for level in levels)).backward()
    grads = [p.grad.clone() for p in blocks.parameters()]
    blocks.zero_grad()
    return [found, x.grad, *levels, *grads]


VALID = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])


@pytest.mark.parametrize(
    ("make", "inputs", "settings"),
    [
        (lambda: stack(drop_path=0.5, keep=(0, 2, 4)), (X,), {"valid": VALID, "again": X[:1]}),
        (lambda: stack(), (X,), {}),
        (lambda: CrossBlocks(dim=16, context=8, depth=3, heads=2, drop_path=0.5), (X, [X[..., :8]]), {"valid": VALID}),
    ],
    ids=["all", "plain", "cross"],
)
def test_computed_again_is_the_same(make, inputs, settings):
    blocks = make()
    assert isinstance(blocks, BlockStack) and not blocks.recompute
    plain = gradients(blocks, *inputs, **settings)
    blocks.recompute = True
    again = gradients(blocks, *inputs, **settings)
    assert len(plain) == len(again) and all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_recompute_keeps_less_of_a_pass():
    kept = []
    for recompute in (False, True):
        blocks, sizes = stack(), []
        blocks.recompute = recompute
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            blocks(X.clone().requires_grad_())
        kept.append(sum(sizes))
    assert kept[1] < 0.1 * kept[0]


def test_padding_is_attended_by_nobody():
    blocks = stack().eval()
    changed = X.clone()
    changed[1, 3:] = 7.0
    found, other = blocks(X, VALID), blocks(changed, VALID)
    assert torch.allclose(found[VALID], other[VALID], atol=1e-6)


def test_contexts_are_one_for_all_or_one_a_block():
    blocks = CrossBlocks(dim=16, context=8, depth=3, heads=2).eval()
    context = torch.randn(2, 7, 8)
    assert torch.equal(blocks(X, [context]), blocks(X, [context] * 3))
    assert not torch.allclose(blocks(X, [context]), blocks(X, [context, context, 0 * context]), atol=1e-4)
    with pytest.raises(ValueError, match="3 blocks need 1 or 3 contexts, got 2"):
        blocks(X, [context] * 2)


def test_stochastic_depth_grows_linearly():
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in stack(drop_path=0.3)]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3])


def test_mae_starts_linear_layers_by_xavier():
    module = init_mae_weights(nn.Sequential(nn.Linear(200, 100), nn.LayerNorm(100)))
    bound = (6 / 300) ** 0.5
    assert not module[0].bias.any() and 0.95 * bound < module[0].weight.abs().max() <= bound


def test_slices_of_all_stacks_are_plain_lists():
    cross = CrossBlocks(dim=16, context=8, depth=3, heads=2)
    window = WindowBlocks(dim=16, depth=3, heads=2)
    for blocks in (cross, window):
        assert type(blocks[-2:]) is nn.ModuleList and blocks[-2:][1] is blocks[2]
