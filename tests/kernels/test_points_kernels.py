"""Sampling, neighbours and Chamfer against brute force in float64, and Triton's kernels in its interpreter."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from maskkit.kernels import fps
from maskkit.kernels.chamfer import chamfer, reference_chamfer
from maskkit.kernels.fps import farthest_points, reference_farthest_points
from maskkit.kernels.neighbours import _by_chunks, nearest, nearest_points, reference_nearest_points


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def random(batch, count):
    return torch.rand(batch, count, 3, generator=rng())


def clustered(batch, count):
    centres = 10 * torch.randn(batch, 5, 3, generator=rng())
    near = 0.1 * torch.randn(batch, count, 3, generator=rng(1))
    return centres[:, torch.arange(count) % 5] + near


def collinear(batch, count):
    return torch.rand(batch, count, 1, generator=rng()) * torch.tensor([1.0, 2.0, -1.0])


def duplicates(batch, count):
    return random(batch, count // 4 + 1).repeat(1, 4, 1)[:, :count]


CLOUDS = [random, clustered, collinear, duplicates]


def brute_force_sampling(points, count, start):
    """The definition, in float64: each sample is farthest from those before; returns how far each one was."""
    points, taken = points.double(), [start]
    for _ in range(count - 1):
        taken.append(int(torch.cdist(points, points[taken]).amin(dim=1).argmax()))
    return taken


def coverage(points, index):
    """Distance of each sample to those before it: what the definition maximises, whichever tie is taken."""
    chosen = points.double()[index]
    between = torch.cdist(chosen, chosen)
    return torch.stack([between[i, :i].min() for i in range(1, len(chosen))])


@pytest.mark.parametrize("clouds", CLOUDS)
@pytest.mark.parametrize("num_points", [40, 700])
@pytest.mark.parametrize("start", [0, 17])
def test_sampling_is_the_definition(clouds, num_points, start):
    points = clouds(3, num_points)
    first = torch.full((3,), start)
    for index in (farthest_points(points, 24, start), reference_farthest_points(points, 24, first)):
        assert (index[:, 0] == start).all()
        for row in range(3):
            expected = brute_force_sampling(points[row], 24, start)
            torch.testing.assert_close(
                coverage(points[row], index[row]), coverage(points[row], expected), atol=1e-5, rtol=1e-4
            )


@pytest.mark.parametrize("num_points", [300, 1024, 5000])
def test_the_fast_path_is_the_reference_from_any_start(num_points):
    points, start = random(4, num_points), torch.tensor([0, 5, num_points - 1, 99])
    assert torch.equal(farthest_points(points, 64, start), reference_farthest_points(points, 64, start))


def test_the_tree_is_used_and_starts_where_asked():
    points = random(1, 2000)[0].numpy()
    pytest.importorskip("fpsample")
    for start in (0, 7, 1999):
        assert np.array_equal(fps._by_tree(points, 50, start), fps._by_scan(points, 50, start))


@pytest.mark.parametrize("num_points", [40, 700])
def test_only_eligible_points_are_sampled(num_points):
    points, eligible = random(2, num_points), torch.rand(2, num_points, generator=rng(3)) > 0.5
    index = farthest_points(points, 15, 0, eligible)
    assert eligible.gather(1, index[:, 1:]).all() and (index[:, 0] == 0).all()
    assert torch.equal(index, reference_farthest_points(points, 15, torch.zeros(2, dtype=torch.long), eligible))
    poisoned = points.masked_fill(~eligible[..., None], torch.nan)
    poisoned[:, 0] = points[:, 0]
    assert torch.equal(farthest_points(poisoned, 15, 0, eligible), index)
    none = farthest_points(points, 3, 2, torch.zeros_like(eligible))
    assert (none == 2).all()


def test_more_samples_than_points_repeat():
    index = farthest_points(random(2, 5), 12, 1)
    assert index.shape == (2, 12) and all(set(row.tolist()) == set(range(5)) for row in index)


def test_sampling_follows_its_points():
    """Permuted points give the permuted samples; moving and scaling change nothing."""
    points, order = random(1, 600), torch.randperm(600, generator=rng(4))
    there = int((order == 3).nonzero())
    index = farthest_points(points, 40, 3)
    assert torch.equal(order[farthest_points(points[:, order], 40, there)], index)
    assert torch.equal(farthest_points(points * 4 + 8, 40, 3), index)  # exact in binary


@pytest.mark.parametrize("clouds", CLOUDS)
@pytest.mark.parametrize("count", [1, 9])
def test_neighbours_are_the_definition(clouds, count):
    points = clouds(3, 200)
    queries = points[:, ::9] + 0.01
    expected = torch.cdist(queries.double(), points.double()).sort(dim=2).values[..., :count]
    for index in (
        nearest_points(points, queries, count),
        reference_nearest_points(points, queries, count),
        _by_chunks(points, queries, count, None)[0],
    ):
        found = points.gather(1, index.flatten(1)[..., None].expand(-1, -1, 3)).view(*index.shape, 3)
        torch.testing.assert_close((queries[:, :, None] - found).double().norm(dim=3), expected, atol=1e-5, rtol=1e-5)


def test_neighbours_among_valid_points_repeat_the_nearest():
    points, valid = random(2, 6), torch.tensor([[True] * 3 + [False] * 3, [True] * 6])
    poisoned = points.masked_fill(~valid[..., None], torch.nan)
    index = nearest_points(poisoned, points[:, :2], 8, valid)
    assert index.shape == (2, 2, 8) and (index[0] < 3).all()
    assert (index[0, :, 3:] == index[0, :, :1]).all() and (index[:, :, 0] == torch.arange(2)).all()


@pytest.mark.parametrize("clouds", CLOUDS)
def test_chamfer_is_the_definition(clouds):
    a, b = clouds(3, 50).double(), random(3, 31).double()
    for mine, theirs in zip(chamfer(a, b), reference_chamfer(a, b), strict=True):
        torch.testing.assert_close(mine, theirs)
    between = torch.cdist(a, b).square()
    torch.testing.assert_close(chamfer(a, b)[0], between.amin(dim=2))
    assert torch.equal(nearest(a, b), between.argmin(dim=2)) or clouds is not random


def test_chamfers_gradient():
    a, b = (random(2, n).double().requires_grad_() for n in (7, 5))
    b = (b.detach() + 0.03).requires_grad_()
    torch.autograd.gradcheck(chamfer, (a, b))


def test_the_triton_kernels_in_their_interpreter():
    pytest.importorskip("triton")
    code = """
import torch
from maskkit.kernels.fps import reference_farthest_points
from maskkit.kernels.fps_triton import farthest_points_triton
from maskkit.kernels.neighbours import _by_chunks, reference_nearest_points, squared_distances
from maskkit.kernels.neighbours_triton import nearest_points_triton, nearest_triton
torch.manual_seed(0)
for num in (37, 300):
    x, start, some = torch.randn(2, num, 3), torch.tensor([3, 0]), torch.rand(2, num) > 0.5
    for eligible in (None, some, torch.zeros_like(some)):
        mine, theirs = (f(x, 12, start, eligible) for f in (farthest_points_triton, reference_farthest_points))
        assert torch.equal(mine, theirs)
    queries = x[:, :7] + 0.1
    assert torch.equal(nearest_points_triton(x, queries, 9, None)[0], reference_nearest_points(x, queries, 9))
    index, distance = nearest_points_triton(x, queries, 9, some)
    expected = _by_chunks(x, queries, 9, some)
    assert torch.equal(index, expected[0]) and torch.allclose(distance, expected[1])
    assert torch.equal(nearest_triton(x, queries), squared_distances(x, queries).argmin(dim=2))
    assert torch.equal(nearest_triton(queries, x), squared_distances(queries, x).argmin(dim=2))
print("equal")
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"TRITON_INTERPRET": "1", "PATH": ""},
        check=False,
    )
    assert result.stdout.strip() == "equal", result.stderr


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA's limits are those of a GPU")
def test_more_pairs_than_an_axis_of_the_grid_holds():
    a, b = torch.rand(70_000, 4, 3, generator=rng()), torch.rand(70_000, 4, 3, generator=rng(1))
    assert torch.equal(nearest(a.cuda(), b.cuda()).cpu(), nearest(a, b))
    assert torch.equal(nearest_points(b.cuda(), a.cuda(), 2).cpu(), nearest_points(b, a, 2))
