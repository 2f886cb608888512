"""The operations that ``maskkit bench kernels`` times: as dispatched, beside the reference and other forms."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskkit.bench.timing import alternate, machine, write_record
from maskkit.bench.workload import Run
from maskkit.kernels.attention import attention, plain_attention
from maskkit.kernels.chamfer import chamfer, reference_chamfer
from maskkit.kernels.fps import farthest_points, reference_farthest_points
from maskkit.kernels.neighbours import nearest_points, reference_nearest_points
from maskkit.ranges import Count

Contest = tuple[str, dict[str, Run]]  # a title, and the forms that are timed in turn

# Batch, heads, tokens, width of a head, in encoders and decoders of the presets.
ATTENTIONS = ((8, 12, 50, 64), (8, 16, 197, 32), (2, 6, 160, 64), (2, 3, 1568, 64), (4, 12, 103, 64), (32, 6, 64, 64))
CLOUDS = ((32, 1024, 64), (4, 8192, 512))  # clouds, points, samples or groups


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Time attention and the operations on points, compared with their references."""

    repeats: Count = 12
    """Number of timed runs per operation. The median is reported."""
    device: str = "cpu"
    """cpu or cuda."""
    out: Path | None = None
    """JSON file to write the results to."""

    def run(self) -> None:
        """Measure, print and write the results."""
        results: dict[str, object] = {"machine": machine(self.device)}
        print(results["machine"])
        for title, forms in contests(self.device):
            seconds = results[title] = alternate(forms, self.repeats, self.device)
            print(f"{title:<44}" + "  ".join(f"{name} {took * 1e3:8.2f} ms" for name, took in seconds.items()))
        write_record(self.out, results)


def contests(device: str) -> Iterator[Contest]:
    """Give what is timed, one after the other, since the tensors of all would not fit into a cache."""
    for dtype in (torch.float32, torch.bfloat16):
        for shape in ATTENTIONS:
            yield _attention(*shape, dtype, device)
    for batch, num_points, count in CLOUDS:
        yield from _on_clouds(batch, num_points, count, device)
    yield _chamfer(32 * 38, 32, device)


def _attention(batch: int, heads: int, tokens: int, width: int, dtype: torch.dtype, device: str) -> Contest:
    """Forward and backward."""
    qkv = torch.randn(batch, tokens, 3, heads, width, dtype=dtype, device=device).permute(2, 0, 3, 1, 4)
    q, k, v = (part.detach().requires_grad_() for part in qkv.unbind(0))
    grad = torch.randn_like(q)
    forms: dict[str, Callable[..., Tensor]] = {
        "plain": plain_attention,
        "torch's": F.scaled_dot_product_attention,
        "chosen": attention,
    }
    title = f"attention, {batch} x {heads} x {tokens} x {width}, {str(dtype)[6:]}"
    return title, {name: _both_ways(form, (q, k, v), grad) for name, form in forms.items()}


def _both_ways(form: Callable[..., Tensor], inputs: tuple[Tensor, ...], grad: Tensor) -> Run:
    return lambda: torch.autograd.grad(form(*inputs), inputs, grad)


def _on_clouds(batch: int, num_points: int, count: int, device: str) -> Iterator[Contest]:
    """Points on spheres, which fill the unit sphere as normalised data do."""
    clouds = nn.functional.normalize(torch.randn(batch, num_points, 3, device=device), dim=2)
    start = torch.zeros(batch, dtype=torch.int64, device=device)
    yield (
        f"farthest points, {batch} x {num_points} to {count}",
        {
            "reference": lambda: reference_farthest_points(clouds, count, start),
            "chosen": lambda: farthest_points(clouds, count),
        },
    )
    centres = clouds[:, :count]
    yield (
        f"32 nearest points, {batch} x {count} among {num_points}",
        {
            "reference": lambda: reference_nearest_points(clouds, centres, 32),
            "chosen": lambda: nearest_points(clouds, centres, 32),
        },
    )


def _chamfer(pairs: int, size: int, device: str) -> Contest:
    """Forward and backward."""
    a = torch.randn(pairs, size, 3, device=device, requires_grad=True)
    b = torch.randn(pairs, size, 3, device=device)

    def both_ways(form: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Run:
        return lambda: torch.autograd.grad(torch.cat(form(a, b), dim=1).sum(), a)

    forms = {"reference": both_ways(reference_chamfer), "chosen": both_ways(chamfer)}
    return f"Chamfer distance, {pairs} pairs of {size} points", forms
