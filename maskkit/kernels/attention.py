"""Scaled dot-product attention, by the fastest implementation for the device, the dtype and the length.

Shapes: B batch, H heads, N queries, M keys, D width of a head.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from maskkit.kernels.linear import SLOW_BFLOAT16


def plain_attention(
    q: Float[Tensor, "B H N D"], k: Float[Tensor, "B H M D"], v: Float[Tensor, "B H M D"], bias: Tensor | None = None
) -> Float[Tensor, "B H N D"]:
    """Compute the reference: two matrix products around a softmax. Vaswani et al. 2017, equation 1.

    ``bias`` is added to the scores [B H N M] and may have axes of size 1.
    """
    # Scaling q (N x D) costs less than scaling the scores (N x M).
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if bias is not None:
        scores = scores + bias
    return scores.softmax(dim=-1).to(v.dtype) @ v


def attention(
    q: Float[Tensor, "B H N D"],
    k: Float[Tensor, "B H M D"],
    v: Float[Tensor, "B H M D"],
    key_valid: Bool[Tensor, "B M"] | None = None,
) -> Float[Tensor, "B H N D"]:
    """Return attention. Keys with ``key_valid`` False get no weight."""
    bias = None if key_valid is None else _bias(key_valid, q.dtype)
    if use_plain(q, k):
        return plain_attention(q, k, v, bias)
    if bias is None and _may_widen(q, k, v):
        found: Tensor = _Widened.apply(q, k, v)
        return found
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def use_plain(q: Tensor, k: Tensor) -> bool:
    """Return whether plain products are faster than torch's fused attention for q [B H N D] and k [B H M D].

    Measured by `maskkit bench kernels`.

    In bfloat16 on CPUs the fused form takes 4 times as long at 50 tokens and 2 times at 197; from 512 to 784 the two
    meet, and at 1568, where the table of scores outgrows the caches, it takes 0.87 of the time and a fraction of the
    memory (AVX-512, forward and backward). Widened to float32, as processors without AMX gain from, the fused form
    meets the plain one already at 50 tokens, but keeps more memory; at 1568 it takes half the time.
    """
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= 512


def _may_widen(*qkv: Tensor) -> bool:
    """Return whether float32 is faster here and torch's kernel takes these: in other cases torch itself falls back."""
    return (
        SLOW_BFLOAT16
        and all(x.device.type == "cpu" and x.dtype == torch.bfloat16 for x in qkv)
        and all(x.ndim == 4 and x.numel() > 0 and x.stride(-1) == 1 for x in qkv)
        and len({x.shape[-1] for x in qkv}) == 1
    )


class _Widened(torch.autograd.Function):
    """torch's fused attention in float32, where that multiplies faster (``kernels/linear.py``).

    What is kept for the backward pass is bfloat16, but for one number per query; autograd would keep float32 copies.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in float32."""
        forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # what torch's function calls here
        out, log_sum = forward(q.float(), k.float(), v.float())
        out = out.to(q.dtype)
        ctx.save_for_backward(q, k, v, out, log_sum)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Differentiate in float32."""
        *kept, log_sum = ctx.saved_tensors
        backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
        grads = backward(grad.float(), *(each.float() for each in kept), log_sum, 0.0, False)
        return tuple(each.to(grad.dtype) for each in grads)


def _bias(key_valid: Bool[Tensor, "B M"], dtype: torch.dtype) -> Float[Tensor, "B 1 1 M"]:
    """Return 0 for keys that count and -inf for padding."""
    bias = torch.zeros(key_valid.shape, dtype=dtype, device=key_valid.device)
    return bias.masked_fill_(~key_valid, -torch.inf)[:, None, None, :]
