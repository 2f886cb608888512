"""The k nearest points of each query, and the single nearest one.

Shapes: B clouds, P points, Q queries, K neighbours, A axes.
"""

import importlib.util

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from maskkit.cached import tracing

_AT_ONCE = 2**19  # distances that are held at a time: two MiB stay in a core's cache
_WIDEST = 16384  # points that the GPU kernel for k neighbours holds in a block


def nearest_points(
    points: Float[Tensor, "B P A"],
    queries: Float[Tensor, "B Q A"],
    count: int,
    valid: Bool[Tensor, "B P"] | None = None,
) -> Int[Tensor, "B Q K"]:
    """Return the ``count`` points nearest to each query, nearest first; no gradient.

    A query that is itself a point finds itself. Points that are not ``valid`` are never found. Where fewer points than
    ``count`` are there, the nearest is repeated. The order of equally near ones is open.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if points.shape[1] == 0:
        raise ValueError("a cloud without points has no nearest one")
    found = min(count, points.shape[1])
    points, queries = points.detach(), queries.detach()
    if tracing():  # a graph holds torch's operators only
        distance, index = _between(points, queries, valid).topk(found, dim=2, largest=False)
    elif _for_triton(points, queries) and points.shape[1] <= _WIDEST:
        from maskkit.kernels.neighbours_triton import nearest_points_triton

        index, distance = nearest_points_triton(points, queries, found, valid)
    elif points.device.type == "cpu":
        index, distance = _by_tree(points, queries, found, valid)
    else:
        index, distance = _by_chunks(points, queries, found, valid)
    index = torch.where(distance.isinf(), index[..., :1], index)
    return torch.cat([index, index[..., :1].expand(-1, -1, count - found)], dim=2) if found < count else index


@torch.no_grad()
def reference_nearest_points(
    points: Float[Tensor, "B P A"], queries: Float[Tensor, "B Q A"], count: int
) -> Int[Tensor, "B Q K"]:
    """Compute the reference: sort all distances."""
    return squared_distances(queries, points).argsort(dim=2, stable=True)[..., :count]


def nearest(queries: Float[Tensor, "B Q A"], points: Float[Tensor, "B P A"]) -> Int[Tensor, "B Q"]:
    """Return the point nearest to each query; no gradient. Of equally near ones the one of lowest index."""
    queries, points = queries.detach(), points.detach()
    if _for_triton(points, queries):
        from maskkit.kernels.neighbours_triton import nearest_triton

        return nearest_triton(queries, points)
    batch, num_queries, _ = queries.shape
    index = torch.empty(batch, num_queries, dtype=torch.int64, device=queries.device)
    for rows, some in _chunks(batch, num_queries, points.shape[1]):
        index[rows, some] = squared_distances(queries[rows, some], points[rows]).argmin(dim=2)
    return index


def squared_distances(a: Float[Tensor, "B N A"], b: Float[Tensor, "B M A"]) -> Float[Tensor, "B N M"]:
    """Return |a_i - b_j|², from differences: |a|² + |b|² - 2 ab would lose the digits of near points."""
    total = (a[..., 0, None] - b[:, None, :, 0]).square_()
    for axis in range(1, a.shape[-1]):
        away = a[..., axis, None] - b[:, None, :, axis]
        total.addcmul_(away, away)
    return total


def _by_tree(
    points: Float[Tensor, "B P A"], queries: Float[Tensor, "B Q A"], count: int, valid: Bool[Tensor, "B P"] | None
) -> tuple[Int[Tensor, "B Q K"], Float[Tensor, "B Q K"]]:
    """Ask scipy's tree, cloud by cloud: 512 x 32 of 8192 points take a fifth of the time of all distances and topk."""
    from scipy.spatial import cKDTree

    batch, num_queries, _ = queries.shape
    index = np.empty((batch, num_queries, count), dtype=np.int64)
    distance = np.empty((batch, num_queries, count))
    for row in range(batch):
        among = np.arange(points.shape[1]) if valid is None else valid[row].numpy().nonzero()[0]
        tree = cKDTree(points[row].numpy()[among], balanced_tree=False, compact_nodes=False)
        away, found = tree.query(queries[row].numpy(), k=range(1, count + 1))
        # Where there are too few points the tree answers with an infinite distance and the number of points.
        index[row], distance[row] = among[np.minimum(found, len(among) - 1)], away
    return torch.from_numpy(index), torch.from_numpy(distance)


@torch.no_grad()
def _by_chunks(
    points: Float[Tensor, "B P A"], queries: Float[Tensor, "B Q A"], count: int, valid: Bool[Tensor, "B P"] | None
) -> tuple[Int[Tensor, "B Q K"], Float[Tensor, "B Q K"]]:
    batch, num_queries, _ = queries.shape
    index = torch.empty(batch, num_queries, count, dtype=torch.int64, device=points.device)
    distance = torch.empty(batch, num_queries, count, dtype=points.dtype, device=points.device)
    for rows, some in _chunks(batch, num_queries, points.shape[1]):
        between = _between(points[rows], queries[rows, some], None if valid is None else valid[rows])
        distance[rows, some], index[rows, some] = between.topk(count, dim=2, largest=False)
    return index, distance


def _between(
    points: Float[Tensor, "B P A"], queries: Float[Tensor, "B Q A"], valid: Bool[Tensor, "B P"] | None
) -> Float[Tensor, "B Q P"]:
    """Return squared distances, infinite to points that are not valid."""
    between = squared_distances(queries, points)
    return between if valid is None else between.masked_fill_(~valid[:, None], torch.inf)


def _chunks(batch: int, num_queries: int, num_points: int) -> list[tuple[slice, slice]]:
    """Cut the work into pieces of whole clouds, or of some queries of a large one."""
    clouds = max(1, _AT_ONCE // max(1, num_queries * num_points))
    queries = num_queries if clouds > 1 else max(1, _AT_ONCE // num_points)
    return [
        (slice(row, row + clouds), slice(query, query + queries))
        for row in range(0, batch, clouds)
        for query in range(0, num_queries, queries)
    ]


def _for_triton(points: Tensor, queries: Tensor) -> bool:
    three = points.shape[-1] == 3 and points.dtype == queries.dtype == torch.float32
    return three and points.is_cuda and importlib.util.find_spec("triton") is not None
