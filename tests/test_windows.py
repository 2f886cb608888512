"""Window attention, beside timm's own block, and what it may and may not look at."""

import pytest
import torch
from timm.models.swin_transformer_v2_cr import SwinTransformerV2CrBlock

from maskkit import Mask, Tokens
from maskkit.decoder import WindowDecoder
from maskkit.modalities import audio
from maskkit.positions import SinCos
from maskkit.tokenizers import grid_coordinates
from maskkit.types import Latent
from maskkit.windows import WindowBlocks, closed_pairs, log_distances


def blocks(depth=2, shift=(2, 2), **settings):
    torch.manual_seed(0)
    made = WindowBlocks(dim=32, depth=depth, heads=4, window=(4, 4), shift=shift, **settings)
    with torch.no_grad():
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return made.eval()


@pytest.mark.parametrize("grid", [(12, 8), (8, 4), (4, 16), (4, 4)])
@pytest.mark.parametrize("shift", [(0, 0), (2, 2)])
def test_a_block_is_timms(grid, shift):
    """timm learns the logarithm of 1 / tau, and shifts by half a window along both axes or not at all."""
    ours = blocks(shift=shift)[1]
    theirs = SwinTransformerV2CrBlock(
        dim=32, num_heads=4, feat_size=grid, window_size=(4, 4), shift_size=shift, init_values=None
    )
    state = {name: tensor for name, tensor in ours.state_dict().items() if name != "attn.tau"}
    state["attn.logit_scale"] = -ours.attn.tau.detach().log()
    theirs.load_state_dict(state)
    theirs.norm1.eps = theirs.norm2.eps = 1e-6
    x = torch.randn(3, *grid, 32)
    with torch.no_grad():
        expected = theirs.eval()(x)
        stack = blocks(shift=shift)
        stack[0].forward = lambda x, *_: x  # the second block of a stack is the shifted one
        found = stack(x.flatten(1, 2), grid)
    assert torch.allclose(found, expected.flatten(1, 2), atol=1e-5)


def test_tau_stops_at_a_hundredth():
    made = blocks(depth=1)
    x = torch.randn(1, 16, 32)
    outs = []
    for tau in (0.01, 0.001, -1.0, 0.02):
        with torch.no_grad():
            made[0].attn.tau.fill_(tau)
            outs.append(made(x, (4, 4)))
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[0], outs[2]) and not torch.equal(outs[0], outs[3])


def test_the_bias_network_drops_out_in_training_only():
    x = torch.randn(2, 64, 32)
    made = blocks().train()
    assert not torch.equal(made(x, (8, 8)), made(x, (8, 8)))
    made = blocks(bias_dropout=0.0).train()
    assert torch.equal(made(x, (8, 8)), made(x, (8, 8)))


def reach(made, grid, place, present=None):
    """Which places change when one does."""
    x = torch.randn(1, grid[0] * grid[1], 32)
    other = x.clone()
    other[0, place] += 1
    with torch.no_grad():
        moved = (made(x, grid, present) - made(other, grid, present)).abs().amax(-1)[0] > 1e-6
    return moved.view(grid)


def test_windows_reach_as_far_as_they_say():
    """Unshifted: its own window. Shifted along time by 2: two windows, and not over the seam from end to start."""
    grid = (8, 8)
    own = torch.zeros(grid, dtype=torch.bool)
    own[:4, :4] = True
    assert torch.equal(reach(blocks(depth=1), grid, 0), own)
    both = own.clone()
    both[:6, :4] = (
        True  # rows 2 and 3 share the shifted window with rows 4 and 5; row 0 meets rows 6, 7 at the seam only
    )
    assert torch.equal(reach(blocks(shift=(2, 0)), grid, 0), both)


@pytest.mark.parametrize("grid", [(6, 5), (9, 4), (3, 2), (1, 7)])
def test_grids_that_are_no_whole_windows_are_padded_unseen(grid):
    """Making the padding larger, by hiding what lies there, changes nothing."""
    made = blocks(shift=(2, 0))
    x = torch.randn(2, grid[0], grid[1], 32)
    window = (min(4, grid[0]), min(4, grid[1]))
    whole = tuple(-(-g // w) * w for g, w in zip(grid, window, strict=True))
    wider = torch.randn(2, *whole, 32)
    wider[:, : grid[0], : grid[1]] = x
    present = torch.zeros(2, *whole, dtype=torch.bool)
    present[:, : grid[0], : grid[1]] = True
    with torch.no_grad():
        small = made(x.flatten(1, 2), grid)
        large = made(wider.flatten(1, 2), whole, present.flatten(1)).unflatten(1, whole)[:, : grid[0], : grid[1]]
    assert torch.allclose(small, large.flatten(1, 2), atol=1e-5) and small.isfinite().all()


def decoder(**settings):
    places = SinCos(dim=32, axes=2)
    return WindowDecoder(latent=16, dim=32, depth=3, heads=4, output=5, positions=places, **settings).eval()


def test_tokens_in_neither_set_are_attended_by_nobody():
    made = decoder()
    grid = (8, 4)
    places = grid_coordinates(grid, torch.device("cpu"))
    tokens = Tokens(x=torch.zeros(1, 32, 5), pos=places, grid=grid)
    order = torch.randperm(32)[None]
    mask = Mask(visible=order[:, :8], hidden=order[:, 8:20])
    latent = Latent(tokens=torch.randn(1, 8, 16), prefix=torch.randn(1, 1, 16))
    with torch.no_grad():
        before = made(latent, tokens, mask)
        absent = order[0, 20:]
        usual = made.positions
        del made.positions
        made.positions = lambda t: usual(t).index_fill(1, absent, 7.0)  # what stands in these places changes
        assert torch.allclose(made(latent, tokens, mask), before, atol=1e-6)
        made.positions = lambda t: usual(t).index_fill(1, mask.visible[0], 7.0)
        assert not torch.allclose(made(latent, tokens, mask), before, atol=1e-2)


def test_a_class_token_is_left_out_and_a_missing_grid_is_refused():
    made, grid = decoder(), (4, 4)
    tokens = Tokens(x=torch.zeros(1, 16, 5), pos=grid_coordinates(grid, torch.device("cpu")), grid=grid)
    mask = Mask.hide(torch.arange(8)[None], 16)
    latent = torch.randn(1, 8, 16)
    one, other = (made(Latent(tokens=latent, prefix=torch.randn(1, r, 16)), tokens, mask) for r in (1, 3))
    assert torch.equal(one, other)
    with pytest.raises(ValueError, match="windows need tokens on a grid of two axes, got grid None"):
        made(Latent(tokens=latent, prefix=latent[:, :1]), tokens.replace(grid=None), mask)
    with pytest.raises(ValueError, match=r"shift must lie in \[0, window\)"):
        decoder(shift=(4, 0))


def test_latents_of_all_tokens_are_refused():
    model = audio.audiomae("tiny", frames=64, mels=64)
    tokens = model.tokenizer(torch.randn(2, 1, 64, 64))
    mask = model.masker(tokens)
    with pytest.raises(ValueError, match="latents of visible tokens only"):
        model.decoder(model.encoder(tokens), tokens, mask)


def test_a_model_that_first_ran_in_inference_mode_trains():
    """What is computed once and kept must not be bound to the mode it was first asked for in."""
    for kept in (log_distances, closed_pairs, grid_coordinates):
        kept.cache_clear()
    model = audio.audiomae("tiny", frames=96, mels=64)
    batch = torch.randn(2, 1, 96, 64)
    with torch.inference_mode():
        model(batch)
    model(batch).loss.backward()
