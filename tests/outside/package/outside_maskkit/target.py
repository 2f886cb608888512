"""A target in one file."""

from torch import Tensor, nn

from maskkit.batches import Batch
from maskkit.parts import part
from maskkit.types import Mask, Tokens, take


@part
class Mean(nn.Module):
    """The mean of each hidden token's contents, ``[B H 1]``."""

    def forward(self, tokens: Tokens, mask: Mask, batch: Batch) -> Tensor:
        """Return float32 means."""
        return take(tokens.x, mask.hidden).float().mean(dim=-1, keepdim=True)

    def contents(self, value: Tensor, tokens: Tokens, mask: Mask) -> Tensor:
        """Return tokens of one number everywhere."""
        return value.expand(-1, -1, tokens.x.shape[-1])
