"""What a masker is, and what most maskers are made of: counts, scores, random numbers."""

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maskkit.types import Mask, Tokens

Rounding = Literal["keep", "hide"]


@runtime_checkable
class Masker(Protocol):
    """Decides: (tokens, rng) -> a mask, or several masks of a sample. The same state of ``rng`` gives the same mask.

    A masker that looks at the model or at the progress of the run writes ``*, step``. One whose counts of visible and
    hidden tokens change from call to call has an attribute ``varies = True``.
    """

    def __call__(
        self, tokens: Tokens, rng: torch.Generator | None = None, *_: Any, **__: Any
    ) -> Mask | tuple[Mask, ...]:
        """Draw from ``rng``, or from torch's global generator."""


def count_visible(num_tokens: int, ratio: float, rounding: Rounding) -> int:
    """Return how many of ``num_tokens`` stay visible when a share ``ratio`` is hidden.

    ``keep``: keep int(N (1 - ratio)), as MAE, Audio-MAE and Hiera do. ``hide``: hide int(N ratio), as VideoMAE and
    Point-MAE do. Both truncate the float64 product exactly as the authors' lines do.

    >>> count_visible(512, 0.8, "keep"), count_visible(512, 0.8, "hide")
    (102, 103)
    """
    visible = int(num_tokens * (1 - ratio)) if rounding == "keep" else num_tokens - int(ratio * num_tokens)
    if not 0 < visible < num_tokens:
        left = "visible" if visible < 1 else "hidden"
        raise ValueError(
            f"mask ratio {ratio} of {num_tokens} tokens leaves no {left} token; choose another ratio or smaller patches"
        )
    return visible


def count_both(tokens: Tokens, ratio: float, rounding: Rounding) -> tuple[int, int]:
    """Return how many tokens of each sample a mask covers, and how many of these stay visible.

    In a padded batch the shortest sample sets both. Where it is too short for the ratio, one token at least is visible
    and one hidden: a short recording among many is no reason to stop.
    """
    if tokens.valid is None:
        return tokens.shape[1], count_visible(tokens.shape[1], ratio, rounding)
    return count_of_shortest(int(tokens.valid.sum(dim=1).min()), ratio, rounding)


def count_of_shortest(num_tokens: int, ratio: float, rounding: Rounding) -> tuple[int, int]:
    """Return the counts for a shortest sample of so many tokens: at least one visible and one hidden."""
    if num_tokens < 2:
        raise ValueError(f"a mask needs two tokens, the shortest sample of the batch has {num_tokens}; leave it out")
    visible = int(num_tokens * (1 - ratio)) if rounding == "keep" else num_tokens - int(ratio * num_tokens)
    return num_tokens, min(max(visible, 1), num_tokens - 1)


def mask_from_scores(
    scores: Float[Tensor, "B N"], num_visible: int, *, num_hidden: int | None = None, valid: Bool[Tensor, "B N"] | None
) -> Mask:
    """Show the ``num_visible`` lowest scores of each sample and hide the ``num_hidden`` next (default: all others).

    Padding is never shown and never hidden, provided that each sample has enough valid tokens for both.
    """
    if valid is not None:
        scores = scores.masked_fill(~valid, torch.inf)
    order = scores.argsort(dim=1)
    end = scores.shape[1] if num_hidden is None else num_visible + num_hidden
    return Mask(visible=order[:, :num_visible], hidden=order[:, num_visible:end])


def check_ratio(ratio: float) -> None:
    """Raise ValueError unless a mask ratio lies in (0, 1)."""
    if not 0 < ratio < 1:
        raise ValueError(f"mask ratio must lie in (0, 1), got {ratio}")


def uniform_scores(tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    """Return one number in [0, 1) a token. Drawn where ``rng`` lives, so a CPU generator gives all devices one mask."""
    return draw_uniform(*tokens.shape, tokens, rng)


def draw_uniform(batch: int, count: int, tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    """Return numbers in [0, 1), [batch count], drawn where ``rng`` lives."""
    device = tokens.x.device if rng is None else rng.device
    return torch.rand(batch, count, generator=rng, device=device).to(tokens.x.device)
