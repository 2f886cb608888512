"""Positions come from coordinates."""

import pytest
import torch

from maskkit.positions import FlatSinCos, SeparableTable, SinCos, Table
from maskkit.tokenizers import grid_coordinates
from maskkit.types import Tokens

CPU = torch.device("cpu")


def on_grid(*grid: int) -> Tokens:
    places = grid_coordinates(grid, CPU)
    return Tokens(x=places, pos=places, grid=grid)


@pytest.mark.parametrize(("axes", "dim"), [(1, 64), (2, 64), (3, 64), (3, 100)])
def test_the_formula_written_out(axes, dim):
    """Vaswani et al., section 3.5, for each axis on its share of the width."""
    grid = (3, 4, 5)[:axes]
    table = SinCos(dim=dim, axes=axes)(on_grid(*grid))[0]
    share = dim // axes // 2 * 2
    for token, place in enumerate(on_grid(*grid).pos[0].double()):
        expected = torch.zeros(dim, dtype=torch.float64)
        for axis in range(axes):
            rate = 10000 ** (-torch.arange(0, share, 2, dtype=torch.float64) / share)
            expected[axis * share : axis * share + share // 2] = (place[axis] * rate).sin()
            expected[axis * share + share // 2 : (axis + 1) * share] = (place[axis] * rate).cos()
        assert torch.allclose(table[token].double(), expected, atol=1e-6)


def test_order_swaps_the_axes():
    first = SinCos(dim=16, axes=2, order=(1, 0))(on_grid(3, 5)).view(3, 5, 16)
    second = SinCos(dim=16, axes=2)(on_grid(5, 3)).view(5, 3, 16)
    assert torch.equal(first, second.transpose(0, 1))


def test_a_token_has_its_vector_wherever_it_stands_in_the_list():
    positions, tokens = SinCos(dim=32, axes=2), on_grid(4, 6)
    shuffle = torch.randperm(24)
    shuffled = tokens.replace(pos=tokens.pos[:, shuffle], grid=None)
    assert torch.equal(positions(shuffled), positions(tokens)[:, shuffle])


def test_places_between_cells_and_grids_of_any_size():
    positions = SinCos(dim=32, axes=2)
    between = Tokens(x=torch.zeros(1, 1, 1), pos=torch.tensor([[[0.5, 2.25]]]))
    assert torch.isfinite(positions(between)).all()
    assert torch.equal(positions(on_grid(9, 2)).view(9, 2, 32)[:4], positions(on_grid(4, 2)).view(4, 2, 32))


def test_far_places_are_as_precise_as_near_ones():
    """Float32 angles would be off by 1e-4 at place 1568."""
    far = Tokens(x=torch.zeros(1, 1, 1), pos=torch.tensor([[[1567.0]]]))
    assert abs(SinCos(dim=4, axes=1)(far)[0, 0, 0].double() - torch.tensor(1567.0, dtype=torch.float64).sin()) < 1e-7


def test_what_is_remembered_is_that_of_the_same_places():
    positions = SinCos(dim=16, axes=1)
    first = positions(on_grid(4))
    assert positions(on_grid(4)) is first
    assert positions(on_grid(5)).shape[1] == 5
    assert torch.equal(positions(on_grid(4)), first)


def test_a_table_of_the_grid_is_read_as_it_is_and_stretches_to_others():
    table = Table(dim=8, grid=(3, 4))
    assert torch.equal(table(on_grid(3, 4)), table.weight.reshape(1, 12, 8))
    assert table(on_grid(6, 5)).shape == (1, 30, 8)
    with torch.no_grad():
        table.weight.fill_(0.5)
    assert torch.allclose(table(on_grid(7, 2)), torch.tensor(0.5))
    with pytest.raises(ValueError, match=r"grid \(3, 4\) cannot place tokens of grid \(12,\)"):
        table(on_grid(12))


def test_settings_that_make_no_sense():
    with pytest.raises(ValueError, match="order must name each of the 2 axes once"):
        SinCos(dim=16, axes=2, order=(0, 0))
    with pytest.raises(ValueError, match="dim must be at least 6"):
        SinCos(dim=4, axes=3)
    with pytest.raises(ValueError, match="positions of 2 axes cannot place tokens of 1"):
        SinCos(dim=16, axes=2)(on_grid(4))


def test_a_misread_table_is_the_transposed_one_in_running_order():
    """Audio-MAE's tokens, rows of 8, read a table laid out in rows of 64 (docs/official.md A1)."""
    authors = SinCos(dim=16, axes=2, order=(1, 0), misread=(64, 8))
    laid_out = SinCos(dim=16, axes=2, order=(1, 0))(on_grid(8, 64))
    assert torch.equal(authors(on_grid(64, 8)), laid_out)
    # A place keeps its vector in inputs of any length, and every place has one of its own.
    assert torch.equal(authors(on_grid(19, 8)), laid_out[:, : 19 * 8])
    assert torch.equal(authors(on_grid(80, 8))[:, :512], laid_out)
    assert len(authors(on_grid(80, 8))[0].unique(dim=0)) == 640
    with pytest.raises(ValueError, match="misread is for grids of 2 axes"):
        SinCos(dim=16, axes=1, misread=(64, 8))


@pytest.mark.parametrize("grid", [(8, 14, 14), (3, 4), (7,)])
def test_flat_positions_are_the_authors_formula(grid):
    """get_sinusoid_encoding_table of modeling_finetune.py, written out: numpy, float64, interleaved."""
    import numpy as np

    count, dim = int(np.prod(grid)), 48
    exponent = 2 * (np.arange(dim) // 2) / dim
    angle = np.arange(count)[:, None] / np.power(10000, exponent)
    wanted = np.where(np.arange(dim) % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)
    table = FlatSinCos(dim=dim)(on_grid(*grid))
    assert table.shape == (1, count, dim) and np.abs(table[0].numpy() - wanted).max() <= 1e-6
    assert not list(FlatSinCos(dim=dim).state_dict())


def test_flat_positions_follow_the_coordinates():
    tokens, positions = on_grid(3, 4, 5), FlatSinCos(dim=16)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    shuffled = Tokens(x=tokens.x[:, order], pos=tokens.pos[:, order], grid=tokens.grid)
    assert torch.equal(positions(shuffled), positions(tokens)[:, order])
    longer = positions(on_grid(6, 4, 5))
    assert torch.equal(longer[:, :60], positions(tokens))  # more time only goes on
    with pytest.raises(ValueError, match="need tokens on a grid"):
        positions(tokens.replace(grid=None))


def test_a_separable_table_is_the_sum_of_two():
    positions = SeparableTable(dim=6, grid=(2, 3, 4))
    table = positions(on_grid(2, 3, 4)).view(2, 3, 4, 6)
    assert torch.equal(table[1, 2, 3], positions.first.weight[1] + positions.rest.weight[2, 3])
    assert (
        torch.equal(table[0] - table[1], (positions.first.weight[0] - positions.first.weight[1]).expand(3, 4, 6))
        or ((table[0] - table[1]) - (positions.first.weight[0] - positions.first.weight[1])).abs().max() < 1e-6
    )
    other = positions(on_grid(4, 5, 2))
    assert other.shape == (1, 40, 6) and other.isfinite().all()
    with torch.no_grad():
        positions.first.weight.fill_(1.0)
        positions.rest.weight.fill_(2.0)
    assert (positions(on_grid(5, 2, 7)) - 3).abs().max() < 1e-5
