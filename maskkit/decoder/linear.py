"""A decoder of one linear layer."""

from jaxtyping import Float
from torch import Tensor, nn

from maskkit.kernels.linear import Linear
from maskkit.parts import part
from maskkit.types import Latent, Mask, Tokens, take


@part
class LinearDecoder(nn.Module):
    """A linear layer on the latents of the predicted tokens. SimMIM (arXiv:2111.09886), section 3.3.

    ``latent`` is the width of the encoder and ``output`` the width T of the target. Raises ValueError without a dense
    encoder, unless the predicted tokens are the visible ones.
    """

    def __init__(self, *, latent: int, output: int) -> None:
        super().__init__()
        self.head = Linear(latent, output)

    def forward(self, latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B H T"]:
        """Return predictions in the order of ``mask.hidden``."""
        if latent.tokens.shape[1] == tokens.shape[1]:
            return self.head(take(latent.tokens, mask.hidden))
        if mask.hidden is not mask.visible:
            raise ValueError("LinearDecoder needs the latents of all tokens; pair it with DenseEncoder")
        return self.head(latent.tokens)
