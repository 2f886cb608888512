"""Nearest neighbours on a GPU without the table of all distances. Three axes, float32."""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _nearest_points(  # type: ignore[no-untyped-def]
    points, valid, queries, index, distance, num_points, num_queries, count, MASKED: tl.constexpr, BLOCK: tl.constexpr
):
    """One program a query: all distances in registers, and the least taken out ``count`` times."""
    pair = tl.program_id(0).to(tl.int64)  # pairs of a cloud and a query: CUDA's other axes end at 65535
    row = pair // num_queries
    points += row * num_points * 3
    here = pair * 3
    place = tl.arange(0, BLOCK)
    inside = place < num_points
    dx = tl.load(points + place * 3, mask=inside, other=0.0) - tl.load(queries + here)
    dy = tl.load(points + place * 3 + 1, mask=inside, other=0.0) - tl.load(queries + here + 1)
    dz = tl.load(points + place * 3 + 2, mask=inside, other=0.0) - tl.load(queries + here + 2)
    if MASKED:
        inside = inside & (tl.load(valid + row * num_points + place, mask=inside, other=0) != 0)
    left = tl.where(inside, dx * dx + dy * dy + dz * dz, float("inf"))
    free = place < num_points
    out = pair * count
    for rank in range(count):
        least = tl.min(left, axis=0)
        which = tl.min(tl.where(free & (left == least), place, BLOCK), axis=0)
        tl.store(index + out + rank, which)
        tl.store(distance + out + rank, least)
        free = free & (place != which)
        left = tl.where(place == which, float("inf"), left)


@triton.jit  # type: ignore[untyped-decorator]
def _nearest(queries, points, index, num_queries, num_points, QUERIES: tl.constexpr, POINTS: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program a block of queries, which walks over the points."""
    blocks = tl.cdiv(num_queries, QUERIES)
    row = (tl.program_id(0) // blocks).to(tl.int64)  # all on one axis: CUDA's others end at 65535
    query = tl.program_id(0) % blocks * QUERIES + tl.arange(0, QUERIES)
    asked = query < num_queries
    queries += row * num_queries * 3
    points += row * num_points * 3
    x = tl.load(queries + query * 3, mask=asked, other=0.0)
    y = tl.load(queries + query * 3 + 1, mask=asked, other=0.0)
    z = tl.load(queries + query * 3 + 2, mask=asked, other=0.0)
    least = tl.full((QUERIES,), float("inf"), tl.float32)
    which = tl.zeros((QUERIES,), tl.int32)
    for offset in range(0, num_points, POINTS):
        place = offset + tl.arange(0, POINTS)
        inside = place < num_points
        dx = x[:, None] - tl.load(points + place * 3, mask=inside, other=0.0)[None, :]
        dy = y[:, None] - tl.load(points + place * 3 + 1, mask=inside, other=0.0)[None, :]
        dz = z[:, None] - tl.load(points + place * 3 + 2, mask=inside, other=0.0)[None, :]
        distance = tl.where(inside[None, :], dx * dx + dy * dy + dz * dz, float("inf"))
        best = tl.min(distance, axis=1)
        here = offset + tl.argmin(distance, axis=1)
        which = tl.where(best < least, here, which)
        least = tl.minimum(best, least)
    tl.store(index + row * num_queries + query, which, mask=asked)


def nearest_points_triton(
    points: Float[Tensor, "B P 3"], queries: Float[Tensor, "B Q 3"], count: int, valid: Bool[Tensor, "B P"] | None
) -> tuple[Int[Tensor, "B Q K"], Float[Tensor, "B Q K"]]:
    """Return the nearest points of each query and their squared distances, infinite for points that are not valid."""
    batch, num_points, _ = points.shape
    num_queries = queries.shape[1]
    index = torch.empty(batch, num_queries, count, dtype=torch.int32, device=points.device)
    distance = torch.empty(batch, num_queries, count, device=points.device)
    block = triton.next_power_of_2(num_points)
    mask = points if valid is None else valid.to(torch.int8).contiguous()  # never read where there is none
    grid: Any = (batch * num_queries,)
    # Triton launches on the current device, whatever the tensors'; of CPU tensors (its interpreter) this does nothing.
    with torch.cuda.device_of(points):  # type: ignore[no-untyped-call]
        _nearest_points[grid](
            *(points.contiguous(), mask, queries.contiguous(), index, distance, num_points, num_queries, count),
            MASKED=valid is not None,
            BLOCK=block,
            num_warps=4 if block <= 2048 else 8,
        )
    return index.long(), distance


def nearest_triton(queries: Float[Tensor, "B Q 3"], points: Float[Tensor, "B P 3"]) -> Int[Tensor, "B Q"]:
    """Return the point nearest to each query."""
    batch, num_queries, _ = queries.shape
    index = torch.empty(batch, num_queries, dtype=torch.int32, device=points.device)
    grid: Any = (batch * triton.cdiv(num_queries, 32),)
    with torch.cuda.device_of(points):  # type: ignore[no-untyped-call]
        _nearest[grid](
            *(queries.contiguous(), points.contiguous(), index, num_queries, points.shape[1]), QUERIES=32, POINTS=64
        )
    return index.long()
