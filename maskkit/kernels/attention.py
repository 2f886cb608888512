"""Scaled dot-product attention, by whichever route is fastest for the device, the dtype and the length.

Shapes: B batch, H heads, N queries, M keys, D width of a head.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor


def plain_attention(
    q: Float[Tensor, "B H N D"], k: Float[Tensor, "B H M D"], v: Float[Tensor, "B H M D"], bias: Tensor | None = None
) -> Float[Tensor, "B H N D"]:
    """Compute the reference: two matrix products around a softmax. Vaswani et al. 2017, equation 1."""
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
    """Attend; keys where ``key_valid`` is False get no weight."""
    bias = None if key_valid is None else _bias(key_valid, q.dtype)
    if use_plain(q, k):
        return plain_attention(q, k, v, bias)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)


def use_plain(q: Tensor, k: Tensor) -> bool:
    """Say whether plain products beat torch's fused attention here (`maskkit bench kernels` measures it).

    In bfloat16 on CPUs the fused form takes 4 times as long at 50 tokens and 2 times at 197; from 512 to 784 the two
    meet, and at 1568, where the table of scores outgrows the caches, it takes 0.87 of the time and a fraction of the
    memory (AVX-512, forward and backward).
    """
    return q.device.type == "cpu" and q.dtype == torch.bfloat16 and k.shape[-2] <= 512


def _bias(key_valid: Bool[Tensor, "B M"], dtype: torch.dtype) -> Float[Tensor, "B 1 1 M"]:
    """Return 0 for keys that count and -inf for padding."""
    bias = torch.zeros(key_valid.shape, dtype=dtype, device=key_valid.device)
    return bias.masked_fill_(~key_valid, -torch.inf)[:, None, None, :]
