"""Products widened to float32 under bfloat16 autocast, against float64 and against torch's own autocast."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from maskkit.kernels import attention as attention_module
from maskkit.kernels import linear as linear_module
from maskkit.kernels.attention import attention, plain_attention
from maskkit.kernels.linear import Linear, linear
from maskkit.layers import Blocks


@pytest.fixture(autouse=True)
def no_amx(monkeypatch):
    """Whatever processor runs the tests."""
    monkeypatch.setattr(linear_module, "SLOW_BFLOAT16", True)
    monkeypatch.setattr(attention_module, "SLOW_BFLOAT16", True)


def numbers(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype).requires_grad_()


def off(found, right):
    """Largest error, in units of the largest number."""
    return ((found.double() - right).abs().max() / right.abs().max()).item()


@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("rows_at_a_time", [1, 7, 10_000])
def test_product_and_gradients(monkeypatch, gelu, bias, dtype, rows_at_a_time):
    monkeypatch.setattr(linear_module, "NUMBERS", 48 * rows_at_a_time)
    x, weight, b = numbers(3, 10, 32, dtype=dtype), numbers(48, 32, seed=1), numbers(48, seed=2) if bias else None
    inputs = [x, weight] + ([b] if bias else [])
    upstream = numbers(3, 10, 48, seed=3).detach()

    def both_ways(form, *given):
        out = form(*given)
        return [out, *torch.autograd.grad(out, given, upstream.to(out.dtype))]

    exact = both_ways(
        lambda x, w, b=None: F.linear(F.gelu(x) if gelu else x, w, b), *(each.double() for each in inputs)
    )
    with torch.autocast("cpu", torch.bfloat16):
        ours = both_ways(lambda x, w, b=None: linear(x, w, b, gelu=gelu), *inputs)
        torchs = both_ways(lambda x, w, b=None: F.linear(F.gelu(x) if gelu else x, w, b), *inputs)
    for mine, theirs, right, given in zip(ours, torchs, exact, [None, *inputs], strict=True):
        assert mine.dtype == theirs.dtype == (torch.bfloat16 if given is None else given.dtype)
        assert off(mine, right) < max(1.2 * off(theirs, right), 2**-8)
    assert off(ours[2], exact[2]) <= off(torchs[2], exact[2])  # the gradient of weights is not rounded


def test_only_under_autocast_and_only_what_is_wanted():
    x, weight = numbers(4, 8).detach(), numbers(6, 8)
    assert linear(x, weight).dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        out = linear(x, weight)
        assert "Widened" in out.grad_fn.name()
        out.sum().backward()
        assert x.grad is None and weight.grad.shape == weight.shape
        assert linear(x.requires_grad_(), numbers(6, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.float16):
        assert linear(x, weight).dtype == torch.float16


@pytest.mark.parametrize(
    "view", [lambda x: x.transpose(0, 1), lambda x: x.transpose(1, 2), lambda x: x[:, ::2], lambda x: x[0, 0]]
)
@pytest.mark.parametrize("gelu", [False, True])
def test_views(view, gelu):
    x, weight = numbers(6, 6, 6), numbers(4, 6, seed=1)
    right = torch.autograd.grad(F.linear(F.gelu(view(x)) if gelu else view(x), weight).square().sum(), x)[0]
    with torch.autocast("cpu", torch.bfloat16):
        found = torch.autograd.grad(linear(view(x), weight, gelu=gelu).square().sum(), x)[0]
    assert off(found, right) < 2**-5


def test_what_torch_leaves_alone_or_falls_back_for():
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(numbers(2, 3, dtype=torch.float64), numbers(4, 3, dtype=torch.float64)).dtype == torch.float64
        assert linear(numbers(0, 3), numbers(4, 3)).shape == (0, 4)
        assert (linear(numbers(5, 0), numbers(4, 0)) == 0).all()
    q, k, v = (numbers(2, 3, 16, 600, seed=seed, dtype=torch.bfloat16).transpose(2, 3) for seed in range(3))
    assert off(attention(q, k, v), plain_attention(q.double(), k.double(), v.double())) < 2**-6
    assert attention(q[:, :, :0], k, v).shape == (2, 3, 0, 16)
    assert attention(q, k, v[..., :8]).shape == (2, 3, 600, 8)


def test_operations_are_counted():
    x, layer = numbers(5, 8), Linear(8, 6)
    with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
        layer(x).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 5 * 8 * 6


def test_a_block_keeps_less_than_under_torchs_autocast(monkeypatch):
    def kept(slow):
        monkeypatch.setattr(linear_module, "SLOW_BFLOAT16", slow)
        monkeypatch.setattr(attention_module, "SLOW_BFLOAT16", slow)
        found, blocks = {}, Blocks(dim=64, depth=1, heads=4)

        def note(tensor):
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda each: each), torch.autocast("cpu", torch.bfloat16):
            out = blocks(numbers(2, 600, 64))
        own = {each.untyped_storage().data_ptr() for each in blocks.parameters()}
        del out
        return sum(size for place, size in found.items() if place not in own)

    assert kept(True) < 0.9 * kept(False)


@pytest.mark.parametrize("compiled", [False, True])
def test_a_block_trains_alike(compiled, monkeypatch):
    torch.manual_seed(0)
    blocks, x = Blocks(dim=32, depth=2, heads=4), numbers(2, 9, 32)
    grads = {}
    for slow in (False, True):
        monkeypatch.setattr(linear_module, "SLOW_BFLOAT16", slow)
        if compiled and slow:
            for block in blocks:
                block.compile()
        with torch.autocast("cpu", torch.bfloat16):
            blocks(x).square().mean().backward()
        grads[slow] = torch.cat([each.grad.flatten() for each in blocks.parameters()])
        blocks.zero_grad()
    assert F.cosine_similarity(grads[False], grads[True], dim=0) > 0.9995


@pytest.mark.parametrize("tokens", [20, 600])
@pytest.mark.parametrize("padding", [False, True])
def test_attention(tokens, padding):
    q, k, v = (numbers(2, 3, tokens, 16, seed=seed, dtype=torch.bfloat16) for seed in range(3))
    valid = torch.arange(tokens) < torch.tensor([[tokens], [tokens // 2]]) if padding else None
    bias = None if valid is None else torch.zeros(2, 1, 1, tokens).masked_fill(~valid[:, None, None], -torch.inf)
    upstream = numbers(2, 3, tokens, 16, seed=4).detach()
    exact = [each.detach().double().requires_grad_() for each in (q, k, v)]
    right = plain_attention(*exact, bias)
    with torch.autocast("cpu", torch.bfloat16):
        out = attention(q, k, v, valid)
    assert out.dtype == torch.bfloat16 and off(out, right.detach()) < 2**-6
    found = torch.autograd.grad(out, (q, k, v), upstream.bfloat16())
    for mine, theirs in zip(found, torch.autograd.grad(right, exact, upstream.double()), strict=True):
        assert mine.dtype == torch.bfloat16 and off(mine, theirs) < 2**-6
