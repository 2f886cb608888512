"""Targets say what has to be predicted for a hidden token: ``(tokens, mask, batch) -> value [B H T]``."""

from typing import Any, Literal

from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.parts import part
from maskkit.types import Mask, Tokens, take


@part
class Contents(nn.Module):
    """The contents of the hidden tokens as they are. MAE with pixels (arXiv:2111.06377), table 1d, "w/o norm"."""

    def forward(self, tokens: Tokens, mask: Mask, batch: Any) -> Float[Tensor, "B H T"]:
        """Return float32 contents; those of visible tokens are not touched."""
        return take(tokens.x, mask.hidden).float()

    def contents(self, value: Float[Tensor, "B H T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Turn a value back into contents, for pictures: here they are the same."""
        return value


@part
class NormalizedContents(nn.Module):
    """The contents of each hidden token, with its own mean and standard deviation taken out.

    MAE (arXiv:2111.06377), section 3, "Reconstruction target". The variance is the unbiased one. Two styles are
    published, and a checkpoint knows only its own:

    - ``epsilon="inside"``, over all numbers of a token: (x - mean) / sqrt(var + 1e-6). MAE, Audio-MAE, MAE-ST.
    - ``epsilon="outside"``, usually with ``per_channel``: (x - mean) / (sqrt(var) + 1e-6). VideoMAE, whose code
      takes the statistics for each of the ``channels`` on its own (docs/official.md V8).
    """

    def __init__(
        self, *, epsilon: Literal["inside", "outside"] = "inside", per_channel: bool = False, channels: int = 1
    ) -> None:
        super().__init__()
        if epsilon not in ("inside", "outside"):
            raise ValueError(f"epsilon must be 'inside' or 'outside' the square root, got {epsilon!r}")
        self.epsilon, self.groups = epsilon, channels if per_channel else 1

    def forward(self, tokens: Tokens, mask: Mask, batch: Any) -> Float[Tensor, "B H T"]:
        """Return normalised float32 contents."""
        hidden = self._apart(take(tokens.x, mask.hidden).float())
        mean, scale = self._statistics(hidden)
        return self._together((hidden - mean) / scale)

    def contents(self, value: Float[Tensor, "B H T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B H D"]:
        """Turn a value back into contents with the *true* mean and deviation of each hidden token.

        The prediction holds neither, so a picture made this way shows more than the model knew; captions say so.
        """
        mean, scale = self._statistics(self._apart(take(tokens.x, mask.hidden).float()))
        return self._together(self._apart(value) * scale + mean)

    def _apart(self, x: Float[Tensor, "B H T"]) -> Float[Tensor, "B H P C"]:
        return rearrange(x, "b h (p c) -> b h p c", c=self.groups)

    def _together(self, x: Float[Tensor, "B H P C"]) -> Float[Tensor, "B H T"]:
        return rearrange(x, "b h p c -> b h (p c)")

    def _statistics(self, x: Float[Tensor, "B H P C"]) -> tuple[Tensor, Tensor]:
        if x.shape[2] < 2:
            raise ValueError("a token of one number has no deviation to normalise by; choose norm_target=False")
        var, mean = x.var(dim=2, keepdim=True), x.mean(dim=2, keepdim=True)
        return mean, (var + 1e-6).sqrt() if self.epsilon == "inside" else var.sqrt() + 1e-6
