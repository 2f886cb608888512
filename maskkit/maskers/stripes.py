"""A masker of whole slices of a grid."""

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from maskkit.maskers.protocol import Rounding, check_ratio, count_of_shortest, count_visible, mask_from_scores
from maskkit.parts import part
from maskkit.types import Mask, Tokens


@part
@dataclass(frozen=True, kw_only=True)
class Stripes:
    """Hide whole slices of a grid along one or several axes. Audio-MAE (arXiv:2207.06405), section 3.2.

    ``ratios`` holds the hidden share of each axis of the grid, 0 for an axis without stripes. On a spectrogram with
    axes (time, frequency), ``(0.7, 0.0)`` hides slices of time, ``(0.0, 0.3)`` slices of frequency and ``(0.7, 0.3)``
    both. A token is visible if all its slices are kept: (0.7, 0.3) keeps 19 of 64 rows and 5 of 8 columns, which are 95
    tokens, as in ``random_masking_2d``. Each axis is rounded separately. In a padded batch the shortest sample
    determines the counts along each axis. Raises ValueError for another number of axes, or padding that does not lie
    behind the samples.
    """

    ratios: tuple[float, ...] = (0.7, 0.3)
    rounding: Rounding = "keep"

    def __post_init__(self) -> None:
        """Validate the ratios."""
        for ratio in self.ratios:
            if ratio != 0:
                check_ratio(ratio)
        if not any(self.ratios):
            raise ValueError(f"ratios must hold a share for at least one axis, got {self.ratios}")

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None) -> Mask:
        """Draw one uniform number for every slice of a striped or padded axis, on the device of ``rng``."""
        if tokens.grid is None or len(tokens.grid) != len(self.ratios):
            raise ValueError(f"stripes along {len(self.ratios)} axes need tokens on such a grid, got {tokens.grid}")
        batch, device = tokens.shape[0], tokens.x.device
        extents = _extents(tokens)  # [B A]
        visible = torch.ones(batch, *tokens.grid, dtype=torch.bool, device=device)
        used = visible.clone()
        num_visible = num_used = 1
        for axis, (length, ratio) in enumerate(zip(tokens.grid, self.ratios, strict=True)):
            shortest = kept = length if tokens.valid is None else int(extents[:, axis].min())
            if ratio and tokens.valid is None:
                kept = count_visible(length, ratio, self.rounding)
            elif ratio:
                kept = count_of_shortest(shortest, ratio, self.rounding)[1]
            num_visible, num_used = num_visible * kept, num_used * shortest
            if kept == length:
                continue
            place = torch.arange(length, device=device)
            source = device if rng is None else rng.device
            noise = torch.rand(batch, length, generator=rng, device=source).to(device)
            rank = noise.masked_fill(place >= extents[:, axis, None], torch.inf).argsort(1).argsort(1)
            shape = [batch] + [length if a == axis else 1 for a in range(len(tokens.grid))]
            visible &= (rank < kept).view(shape)
            used &= (rank < shortest).view(shape)
        kind = torch.where(used, torch.where(visible, 0.0, 1.0), 2.0).flatten(1)
        order = torch.arange(tokens.shape[1], device=device) / tokens.shape[1]  # breaks ties by position
        num_hidden = num_used - num_visible
        return mask_from_scores(kind + order, num_visible, num_hidden=num_hidden, valid=tokens.valid)


def _extents(tokens: Tokens) -> Int[Tensor, "B A"]:
    """Return the extent of each sample along each axis of the grid. Padding must lie behind the sample."""
    assert tokens.grid is not None
    size = torch.tensor(tokens.grid, device=tokens.x.device).expand(tokens.shape[0], -1)
    if tokens.valid is None:
        return size
    inside = tokens.valid.view(-1, *tokens.grid)
    moved = [inside.movedim(1 + axis, 1) for axis in range(len(tokens.grid))]
    there = [each.reshape(*each.shape[:2], -1).any(dim=2) for each in moved]  # [B length] of each axis
    size = torch.stack([each.sum(dim=1) for each in there], dim=1)
    behind = all(bool((each.long().diff(dim=1) <= 0).all()) for each in there)
    if not behind or bool((size.prod(dim=1) != tokens.valid.sum(dim=1)).any()):
        raise ValueError("stripes need padding behind the sample along whole axes; this batch has holes")
    return size
