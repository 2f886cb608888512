"""The masker protocol, and helpers for counts, scores and random numbers."""

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from maskkit.types import Mask, Tokens

Rounding = Literal["keep", "hide"]


@runtime_checkable
class Masker(Protocol):
    """Draws a mask, or several masks per sample: (tokens, rng) -> Mask. The same state of ``rng`` gives the same mask.

    A masker that depends on the model or on the progress of the run declares ``*, step``. A masker whose counts of
    visible and hidden tokens change between calls has the attribute ``varies = True``.
    """

    def __call__(
        self, tokens: Tokens, rng: torch.Generator | None = None, *_: Any, **__: Any
    ) -> Mask | tuple[Mask, ...]:
        """Draw the mask from ``rng``, or from torch's global generator if it is None."""


def count_visible(num_tokens: int, ratio: float, rounding: Rounding) -> int:
    """Return how many of ``num_tokens`` stay visible if a share ``ratio`` in (0, 1) is hidden.

    ``keep`` keeps int(N (1 - ratio)), as in MAE, Audio-MAE and Hiera. ``hide`` hides int(N ratio), as in VideoMAE and
    Point-MAE. Both truncate the float64 product exactly as the authors' code does. Raises ValueError if no visible or
    no hidden token is left.

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
    """Return the number of tokens per sample that a mask covers, and how many of these stay visible.

    In a padded batch the shortest sample determines both. If it is too short for the ratio, at least one token is
    visible and one is hidden, so that a short recording does not stop a run.
    """
    if tokens.valid is None:
        return tokens.shape[1], count_visible(tokens.shape[1], ratio, rounding)
    return count_of_shortest(int(tokens.valid.sum(dim=1).min()), ratio, rounding)


def count_of_shortest(num_tokens: int, ratio: float, rounding: Rounding) -> tuple[int, int]:
    """Return the counts of covered and visible tokens for a shortest sample of ``num_tokens``.

    Raises ValueError below two.
    """
    if num_tokens < 2:
        raise ValueError(f"a mask needs two tokens, the shortest sample of the batch has {num_tokens}; leave it out")
    visible = int(num_tokens * (1 - ratio)) if rounding == "keep" else num_tokens - int(ratio * num_tokens)
    return num_tokens, min(max(visible, 1), num_tokens - 1)


def mask_from_scores(
    scores: Float[Tensor, "B N"], num_visible: int, *, num_hidden: int | None = None, valid: Bool[Tensor, "B N"] | None
) -> Mask:
    """Return a mask that shows the ``num_visible`` lowest scores and hides the ``num_hidden`` next ones (default: all).

    Padding is neither visible nor hidden, provided that each sample has enough valid tokens.
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
    """Return one number in [0, 1) per token. It is drawn on the device of ``rng``."""
    return draw_uniform(*tokens.shape, tokens, rng)


def draw_uniform(batch: int, count: int, tokens: Tokens, rng: torch.Generator | None) -> Float[Tensor, "B N"]:
    """Return numbers in [0, 1) of shape [batch count], drawn on the device of ``rng``."""
    device = tokens.x.device if rng is None else rng.device
    return torch.rand(batch, count, generator=rng, device=device).to(tokens.x.device)
