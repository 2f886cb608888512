"""Targets compute the values to predict: ``(tokens, mask, batch) -> value [B H T]``, or codes ``[B H]``.

A target may have ``contents(value, tokens, mask)``, which converts a value back into contents of tokens, for figures.
"""

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn

from maskkit.batches import Batch
from maskkit.parts import part
from maskkit.types import Mask, Tokens, take


class Target(Protocol):
    """Computes the values to predict for the tokens in ``mask.hidden``, in float32: (tokens, mask, batch) -> value.

    A target that needs more arguments, such as the model or the run's precision, declares ``*, step``.
    """

    def __call__(self, tokens: Tokens, mask: Mask, batch: Batch, *_: Any, **__: Any) -> Tensor:
        """Return values [B H T], or codes [B H]."""


@runtime_checkable
class Painted(Protocol):
    """A target whose values can be converted back into contents."""

    def contents(self, value: Float[Tensor, "B H T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Return contents of the hidden tokens."""


@part
class Contents(nn.Module):
    """The plain contents of the hidden tokens. MAE with pixels (arXiv:2111.06377), table 1d, "w/o norm".

    ``mean`` and ``std`` hold one number per channel (channels are fastest in a token). They undo a normalisation of the
    input: VideoMAE predicts pixels in [0, 1] from inputs normalised by ImageNet's statistics
    (engine_for_pretraining.py).
    """

    def __init__(self, *, mean: tuple[float, ...] = (0.0,), std: tuple[float, ...] = (1.0,)) -> None:
        super().__init__()
        self.units = _Units(mean, std)

    def forward(self, tokens: Tokens, mask: Mask, batch: Batch) -> Float[Tensor, "B H T"]:
        """Return the float32 contents of the hidden tokens."""
        return self.units.raw(take(tokens.x, mask.hidden).float())

    def contents(self, value: Float[Tensor, "B H T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Convert values back into contents, for figures."""
        return self.units.normalised(value)


@part
class NormalizedContents(nn.Module):
    """The contents of each hidden token, normalised by its own mean and standard deviation.

    MAE (arXiv:2111.06377), section 3, "Reconstruction target". The variance is the unbiased one. Two forms are
    published, and a checkpoint needs the one that it was trained with:

    - ``epsilon="inside"``, over all numbers of a token: (x - mean) / sqrt(var + 1e-6). MAE, Audio-MAE, MAE-ST.
    - ``epsilon="outside"``, usually with ``per_channel``: (x - mean) / (sqrt(var) + 1e-6). VideoMAE, whose code
      takes the statistics for each of the ``channels`` on its own (docs/official.md V8).

    ``mean`` and ``std`` undo a normalisation of the input first, as in ``Contents``. It cancels except for the epsilon,
    which VideoMAE adds to deviations of pixels in [0, 1]. Raises ValueError for tokens of a single number.
    """

    def __init__(
        self,
        *,
        epsilon: Literal["inside", "outside"] = "inside",
        per_channel: bool = False,
        channels: int = 1,
        mean: tuple[float, ...] = (0.0,),
        std: tuple[float, ...] = (1.0,),
    ) -> None:
        super().__init__()
        if epsilon not in ("inside", "outside"):
            raise ValueError(f"epsilon must be 'inside' or 'outside' the square root, got {epsilon!r}")
        self.epsilon, self.groups = epsilon, channels if per_channel else 1
        self.units = _Units(mean, std)

    def forward(self, tokens: Tokens, mask: Mask, batch: Batch) -> Float[Tensor, "B H T"]:
        """Return normalised float32 contents."""
        hidden = self._hidden(tokens, mask)
        mean, scale = self._statistics(hidden)
        return self._together((hidden - mean) / scale)

    def contents(self, value: Float[Tensor, "B H T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Convert values back into contents with the *true* mean and deviation of each hidden token.

        The prediction contains neither, so such a figure shows more than the model predicts. Captions state this.
        """
        mean, scale = self._statistics(self._hidden(tokens, mask))
        return self.units.normalised(self._together(self._apart(value) * scale + mean))

    def _hidden(self, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H P C"]:
        return self._apart(self.units.raw(take(tokens.x, mask.hidden).float()))

    def _apart(self, x: Float[Tensor, "B H T"]) -> Float[Tensor, "B H P C"]:
        return rearrange(x, "b h (p c) -> b h p c", c=self.groups)

    def _together(self, x: Float[Tensor, "B H P C"]) -> Float[Tensor, "B H T"]:
        return rearrange(x, "b h p c -> b h (p c)")

    def _statistics(self, x: Float[Tensor, "B H P C"]) -> tuple[Tensor, Tensor]:
        if x.shape[2] < 2:
            raise ValueError("a token of one number has no deviation to normalise by; choose norm_target=False")
        var, mean = x.var(dim=2, keepdim=True), x.mean(dim=2, keepdim=True)
        return mean, (var + 1e-6).sqrt() if self.epsilon == "inside" else var.sqrt() + 1e-6


@part
class SlicedContents(nn.Module):
    """Predict only some of the slices of a token's contents, as values of another target.

    A token's contents consist of ``slices`` along the grid's first axis (frames of a video), of which ``kept`` are
    predicted. They are chosen by MAE-ST's rule (models_mae.py, forward_loss, ``pred_t_dim``): of all slices of the
    sample, those with the numbers ``linspace(0, all - 1, kept per token x grid)``, truncated to integers. For 16 frames
    in pairs and 8 predicted frames these are 0 2 4 6 8 10 12 and 15. Raises ValueError for tokens that fill no grid.
    """

    def __init__(self, *, target: Contents | NormalizedContents, slices: int, kept: int) -> None:
        super().__init__()
        if not 0 < kept <= slices:
            raise ValueError(f"kept must lie between 1 and the {slices} slices of a token, got {kept}")
        self.target, self.slices, self.kept = target, slices, kept

    def forward(self, tokens: Tokens, mask: Mask, batch: Batch) -> Float[Tensor, "B H T"]:
        """Return the inner target's values of the kept slices."""
        value: Tensor = self.target(self._thinned(tokens), mask, batch)
        return value

    def contents(self, value: Float[Tensor, "B H T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Convert values back into contents, for figures.

        A slice that is not predicted shows the nearest predicted one.
        """
        known = self.target.contents(value, self._thinned(tokens), mask)
        known = rearrange(known, "b h (s p) -> b h s p", s=self.kept)
        chosen = self._chosen(tokens)
        distance = (chosen[:, None, :] - torch.arange(self.slices, device=chosen.device)[:, None]).abs()
        source = distance.argmin(dim=-1)[self._slots(tokens, mask)]
        shown = known.gather(2, source[..., None].expand(-1, -1, -1, known.shape[-1]))
        return rearrange(shown, "b h s p -> b h (s p)")

    def _thinned(self, tokens: Tokens) -> Tokens:
        """Return the tokens with the kept slices only."""
        chosen = self._chosen(tokens)
        x = rearrange(tokens.x, "b (t n) (s p) -> b t n s p", t=len(chosen), s=self.slices)
        kept = x.gather(3, chosen[None, :, None, :, None].expand(x.shape[0], -1, x.shape[2], -1, x.shape[4]))
        return tokens.replace(x=rearrange(kept, "b t n s p -> b (t n) (s p)"))

    def _chosen(self, tokens: Tokens) -> Int[Tensor, "slots kept"]:
        """Return the kept slices of a token, for each slot of the first axis."""
        if tokens.grid is None:
            raise ValueError("slices need tokens that fill a grid")
        slots = tokens.grid[0]
        numbers = torch.linspace(0, slots * self.slices - 1, slots * self.kept).long().view(slots, self.kept)
        return (numbers - torch.arange(slots)[:, None] * self.slices).to(tokens.x.device)

    def _slots(self, tokens: Tokens, mask: Mask) -> Int[Tensor, "B H"]:
        assert tokens.grid is not None
        return mask.hidden // (tokens.shape[1] // tokens.grid[0])


class _Units:
    """A normalisation per channel and its inverse, for contents with channels fastest."""

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean and std need the same count, and std is positive, got {mean} and {std}")
        self.mean, self.std = tuple(mean), tuple(std)

    def raw(self, x: Float[Tensor, "B H D"]) -> Float[Tensor, "B H D"]:
        """Return ``x * std + mean``."""
        return x if self._nothing else x * self._spread(self.std, x) + self._spread(self.mean, x)

    def normalised(self, x: Float[Tensor, "B H D"]) -> Float[Tensor, "B H D"]:
        """Return ``(x - mean) / std``."""
        return x if self._nothing else (x - self._spread(self.mean, x)) / self._spread(self.std, x)

    @property
    def _nothing(self) -> bool:
        return set(self.mean) == {0.0} and set(self.std) == {1.0}

    @staticmethod
    def _spread(values: tuple[float, ...], x: Tensor) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=x.device).repeat(x.shape[-1] // len(values))
