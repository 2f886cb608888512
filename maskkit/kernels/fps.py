"""Farthest-point sampling: start at a point, then repeatedly take the point farthest from all taken points.

Shapes: B clouds, P points, S samples. Eldar et al. 1997 (doi:10.1109/83.623193); PointNet++ (arXiv:1706.02413), 3.2.
"""

import importlib.util
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from maskkit.cached import tracing


def farthest_points(
    xyz: Float[Tensor, "B P 3"],
    count: int,
    start: int | Int[Tensor, "B"] = 0,
    eligible: Bool[Tensor, "B P"] | None = None,
) -> Int[Tensor, "B S"]:
    """Return the indices of ``count`` points of each cloud, in the order they are taken; no gradient.

    The first is ``start``, whether eligible or not; all others are eligible ones. Of equally far points the one of
    lowest index is taken (fpsample, on CPUs, may take another). Once every eligible point's place is taken, all further
    indices repeat some of those. Coordinates must be finite where a point is eligible.
    """
    batch, num_points, _ = xyz.shape
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    if num_points == 0:
        raise ValueError("a cloud without points has no farthest one")
    first = torch.as_tensor(start, device=xyz.device).expand(batch)
    if isinstance(start, int) and not 0 <= start < num_points:
        raise ValueError(f"start must lie in [0, {num_points}), got {start}")
    xyz = xyz.detach()
    if tracing():  # a graph holds torch's operators only
        return reference_farthest_points(xyz, count, first, eligible)
    if xyz.is_cuda and xyz.dtype == torch.float32 and importlib.util.find_spec("triton"):
        from maskkit.kernels.fps_triton import farthest_points_triton

        return farthest_points_triton(xyz, count, first, eligible)
    if xyz.device.type == "cpu" and xyz.dtype == torch.float32:
        return _on_cpu(xyz, count, first, eligible)
    return reference_farthest_points(xyz, count, first, eligible)


@torch.no_grad()
def reference_farthest_points(
    xyz: Float[Tensor, "B P 3"], count: int, start: Int[Tensor, "B"], eligible: Bool[Tensor, "B P"] | None = None
) -> Int[Tensor, "B S"]:
    """Compute the reference: a loop over the samples."""
    nearest = torch.full(xyz.shape[:2], torch.inf, dtype=xyz.dtype, device=xyz.device)
    if eligible is not None:
        nearest = nearest.masked_fill(~eligible, -1.0)
    rows, last, taken = torch.arange(xyz.shape[0], device=xyz.device), start.long(), [start.long()]
    for _ in range(count - 1):
        away = (xyz - xyz[rows, last][:, None]).square()
        # nan_to_num: padding is NaN, and stays at -1 all the same
        distance = (away[..., 0] + away[..., 1] + away[..., 2]).nan_to_num(nan=0.0, posinf=torch.inf)
        nearest = torch.minimum(nearest, distance)
        farthest, last = nearest.max(dim=1)
        last = torch.where(farthest >= 0, last, start)  # none is eligible
        taken.append(last)
    return torch.stack(taken, dim=1)


def _on_cpu(
    xyz: Float[Tensor, "B P 3"], count: int, start: Int[Tensor, "B"], eligible: Bool[Tensor, "B P"] | None
) -> Int[Tensor, "B S"]:
    """Sample cloud by cloud: the tree of fpsample prunes best on one cloud's own points."""
    clouds, firsts = xyz.numpy(), start.tolist()
    out = np.empty((len(clouds), count), dtype=np.int64)
    for row, (points, first) in enumerate(zip(clouds, firsts, strict=True)):
        if eligible is None:
            out[row] = _one_cloud(points, count, first)
        else:
            left = eligible[row].numpy().copy()
            left[first] = True
            among = left.nonzero()[0]
            some = _one_cloud(points[among], count, int(np.searchsorted(among, first)))
            out[row] = among[some]
            if not eligible[row, first] and len(among) > 1:  # only the first sample may be what is not eligible
                rest = out[row, 1:]
                rest[rest == first] = among[0] if among[0] != first else among[1]
    return torch.from_numpy(out)


def _one_cloud(points: NDArray[np.float32], count: int, start: int) -> NDArray[np.int64]:
    """Use fpsample's tree where it is installed and starts where it should, plain numpy elsewhere."""
    wanted = min(count, len(points))
    taken = _by_tree(points, wanted, start)
    if taken is None:
        taken = _by_scan(points, wanted, start)
    return np.concatenate([taken, np.zeros(count - wanted, dtype=np.int64)])


def _by_scan(points: NDArray[np.float32], count: int, start: int) -> NDArray[np.int64]:
    """Scan all points for each sample, one coordinate at a time: three times as fast as torch's operators."""
    planes = np.ascontiguousarray(points.T)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    total, square = np.empty_like(nearest), np.empty_like(nearest)
    taken = np.empty(count, dtype=np.int64)
    last = start
    for place in range(count):
        taken[place] = last
        np.subtract(planes[0], planes[0, last], out=total)
        np.multiply(total, total, out=total)
        for plane in planes[1:]:
            np.subtract(plane, plane[last], out=square)
            np.multiply(square, square, out=square)
            np.add(total, square, out=total)
        np.minimum(nearest, total, out=nearest)
        last = int(nearest.argmax())
    return taken


# fpsample prunes with a tree (Han et al. 2023, QuickFPS): 8192 -> 512 points take 2 ms instead of 8. Its version 1.0
# has a flaw: start_idx counts places in the tree's own order of points. So the place of our start is worked out below,
# and what comes back is only believed if it begins with our start.

_SMALLEST = 256  # points; below it the scan is as fast as the tree


def _by_tree(points: NDArray[np.float32], count: int, start: int) -> NDArray[np.int64] | None:
    if len(points) < _SMALLEST or importlib.util.find_spec("fpsample") is None:
        return None
    import fpsample

    height = 5 if len(points) >= 4096 else 3
    place = _place_in_tree(points, height, start)
    if place is None:
        return None
    taken: NDArray[Any] = fpsample.bucket_fps_kdline_sampling(points, count, h=height, start_idx=place)
    return taken.astype(np.int64) if int(taken[0]) == start else None


def _place_in_tree(points: NDArray[np.float32], height: int, start: int) -> int | None:
    """Follow one point down the tree: at each level the longest side is cut at the mean, in place, by swaps.

    None where a cut does not part the points (all in one place), which the tree is not made for.
    """
    planes = np.ascontiguousarray(points.T)
    place, offset = start, 0
    for _ in range(height):
        axis = int((planes.max(axis=1) - planes.min(axis=1)).argmax())
        values = planes[axis]
        right = values >= values.mean(dtype=np.float32)
        num_left = len(right) - int(np.count_nonzero(right))
        if num_left in (0, len(right)):
            return None
        misplaced = np.flatnonzero(right[:num_left])
        partners = np.flatnonzero(~right[num_left:])[::-1]  # swapped from the far end, counted from num_left
        if right[place]:
            offset += num_left
            kept = np.arange(num_left, len(right))
            kept[partners] = misplaced
        else:
            kept = np.arange(num_left)
            kept[misplaced] = partners + num_left
        place = int(np.flatnonzero(kept == place)[0])
        planes = planes.take(kept, axis=1)
    return offset + place
