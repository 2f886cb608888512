"""Farthest-point sampling on a GPU: one program a cloud, which keeps its distances in the GPU's cache."""

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor


@triton.jit  # type: ignore[untyped-decorator]
def _sample(xyz, nearest, start, out, num_points, count, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0)
    xyz += row * num_points * 3
    nearest += row * num_points
    out += row * count
    first = tl.load(start + row)
    last = first
    for place in range(count):
        tl.store(out + place, last)
        x = tl.load(xyz + last * 3)
        y = tl.load(xyz + last * 3 + 1)
        z = tl.load(xyz + last * 3 + 2)
        top = -1.0
        where = first  # stays where no point is eligible
        for offset in range(0, num_points, BLOCK):
            index = offset + tl.arange(0, BLOCK)
            inside = index < num_points
            dx = tl.load(xyz + index * 3, mask=inside, other=0.0) - x
            dy = tl.load(xyz + index * 3 + 1, mask=inside, other=0.0) - y
            dz = tl.load(xyz + index * 3 + 2, mask=inside, other=0.0) - z
            distance = tl.minimum(tl.load(nearest + index, mask=inside, other=-1.0), dx * dx + dy * dy + dz * dz)
            tl.store(nearest + index, distance, mask=inside)
            best = tl.max(distance, axis=0)
            here = offset + tl.argmax(distance, axis=0)
            where = tl.where(best > top, here, where)
            top = tl.maximum(best, top)
        tl.debug_barrier()  # all distances are written before the next sample reads them
        last = where


def farthest_points_triton(
    xyz: Float[Tensor, "B P 3"], count: int, start: Int[Tensor, "B"], eligible: Bool[Tensor, "B P"] | None
) -> Int[Tensor, "B S"]:
    """Return what ``fps.reference_farthest_points`` does; points that are not eligible keep the distance -1."""
    batch, num_points, _ = xyz.shape
    # Padding may be NaN, and what the minimum makes of NaN differs between backends.
    xyz = xyz.contiguous() if eligible is None else xyz.nan_to_num(nan=0.0)
    nearest = torch.full((batch, num_points), torch.inf, device=xyz.device)
    if eligible is not None:
        nearest.masked_fill_(~eligible, -1.0)
    out = torch.empty(batch, count, dtype=torch.int32, device=xyz.device)
    block = min(4096, triton.next_power_of_2(num_points))
    grid: Any = (batch,)
    first = start.to(torch.int32).contiguous()
    # Triton launches on the current device, whatever the tensors'; of CPU tensors (its interpreter) this does nothing.
    with torch.cuda.device_of(xyz):  # type: ignore[no-untyped-call]
        _sample[grid](xyz, nearest, first, out, num_points, count, BLOCK=block, num_warps=8)
    return out.long()
