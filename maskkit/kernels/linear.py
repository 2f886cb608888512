"""Linear layers that are fast on processors that multiply bfloat16 slowly.

Shapes: K numbers in, D numbers out of a layer; any axes before them.

Under bfloat16 autocast torch rounds both factors to bfloat16 and multiplies those. x86 processors without AMX do so at
half the speed of float32 (AVX-512 with its bfloat16 instructions, forward and backward, 400 x 768 to 3072: 37 ms
against 23) or slower. There products are computed in float32: 20 ms. Neither inputs nor weights are rounded for them;
the result is, and so is what is kept for the backward pass. The gradient can be taken once, not of a gradient.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.parts import part

SLOW_BFLOAT16 = torch.backends.cpu.get_cpu_capability().startswith("AVX") and not torch.cpu._is_amx_tile_supported()
NUMBERS = 2**21  # that are float32 at a time; from 2^20 to 2^22 times are the same, below it products get slow


@part  # a modality's embedding is one
class Linear(nn.Linear):
    """torch's Linear with the product computed by ``linear``."""

    def forward(self, x: Float[Tensor, "*B K"]) -> Float[Tensor, "*B D"]:
        """Return ``x weight^T + bias``."""
        return linear(x, self.weight, self.bias)


def linear(
    x: Float[Tensor, "*B K"], weight: Float[Tensor, "D K"], bias: Tensor | None = None, *, gelu: bool = False
) -> Float[Tensor, "*B D"]:
    """Return ``x weight^T + bias`` with a bias [D], or ``gelu(x) weight^T + bias``.

    Under autocast the result is bfloat16, however it is computed.
    """
    if widens(x):
        product: Tensor = _Widened.apply(x, weight, bias, gelu)
        return product
    return F.linear(F.gelu(x) if gelu else x, weight, bias)


def widens(x: Tensor) -> bool:
    """Return whether bfloat16 autocast is on and the device of ``x`` (any shape) multiplies float32 faster."""
    return (
        SLOW_BFLOAT16
        and x.device.type == "cpu"
        and x.dtype != torch.float64  # which autocast leaves alone
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


class _Widened(torch.autograd.Function):
    """What is kept for the backward pass is bfloat16, as autocast keeps it; few rows are float32 at a time.

    A GELU before the product is computed again in the backward pass, so its result is not kept: of the memory of a
    transformer's activations that is a quarter.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, gelu: bool) -> Tensor:
        """Multiply in float32."""
        ctx.dtype, ctx.gelu = x.dtype, gelu
        ctx.save_for_backward(x.bfloat16(), weight)
        out = x.new_empty(*x.shape[:-1], len(weight), dtype=torch.bfloat16)
        with torch.autocast("cpu", enabled=False):
            weight, bias = weight.float(), None if bias is None else bias.float()
            for some, place in zip(_some_rows(x, weight), _some_rows(out, weight), strict=True):
                wide = F.gelu(some.float()) if gelu else some.float()
                place.copy_(F.linear(wide, weight, bias))
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        """Multiply in float32 again; weights get gradients that were never rounded."""
        x, weight = ctx.saved_tensors
        wants_x, _, wants_bias, _ = ctx.needs_input_grad
        factor, of_x = weight.float(), torch.empty_like(x, memory_format=torch.contiguous_format)
        of_weight, of_bias = torch.zeros_like(factor), factor.new_zeros(len(factor))
        rows = (_some_rows(each, weight) for each in (x, grad, of_x))
        with torch.autocast("cpu", enabled=False):
            for some, its_grad, place in zip(*rows, strict=True):
                wide, its_grad = some.float(), its_grad.float()
                torch.addmm(of_weight, its_grad.T, F.gelu(wide) if ctx.gelu else wide, out=of_weight)
                of_bias += its_grad.sum(dim=0)
                if wants_x:
                    of_some = its_grad @ factor
                    place.copy_(torch.ops.aten.gelu_backward(of_some, wide) if ctx.gelu else of_some)
        of_x = of_x.to(ctx.dtype)
        return of_x if wants_x else None, of_weight.to(weight.dtype), of_bias if wants_bias else None, None


def _some_rows(x: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
    """Split into rows whose float32 copies are a few megabytes: few enough to stay in a cache.

    Not under ``torch.compile``, which would unroll the loop over them and compile anew for each number of them.
    """
    rows = x.reshape(x.shape[:-1].numel(), x.shape[-1])
    return (rows,) if torch.compiler.is_compiling() else torch.split(rows, max(1, NUMBERS // max(weight.shape)))
