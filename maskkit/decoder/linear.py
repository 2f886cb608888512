"""One linear layer."""

from jaxtyping import Float
from torch import Tensor, nn

from maskkit.kernels.linear import Linear
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, take


@part
class LinearDecoder(nn.Module):
    """One linear layer on the latents of the tokens asked for. SimMIM (arXiv:2111.09886), section 3.3.

    It needs a dense encoder, unless the tokens asked for are the visible ones.
    """

    def __init__(self, *, latent: int, output: int) -> None:
        super().__init__()
        self.head = Linear(latent, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Predict every hidden token, in the order of ``mask.hidden``."""
        if latent.tokens.shape[1] == tokens.shape[1]:
            return self.head(take(latent.tokens, mask.hidden))
        if mask.hidden is not mask.visible:
            raise ValueError("LinearDecoder needs the latents of all tokens; pair it with DenseEncoder")
        return self.head(latent.tokens)
