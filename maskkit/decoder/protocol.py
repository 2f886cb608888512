"""What a decoder is, and which latents it is given."""

from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from maskkit.types import Latent, Mask, Tokens, take


class Decoder(Protocol):
    """Predicts: (latent, tokens, mask) -> [B K T], for the tokens that ``mask.hidden`` names, in their order.

    A decoder that needs more than these three writes ``*, step``. One that reads contents of hidden tokens (a noisy
    copy, say) has an attribute ``reads_hidden = True``.
    """

    def __call__(self, latent: Latent, tokens: Tokens, mask: Mask, *_: Any, **__: Any) -> Float[Tensor, "B K T"]:
        """Return one prediction a token asked for."""


def is_dense(latent: Latent, tokens: Tokens, mask: Mask) -> bool:
    """Return whether there is a latent for every token, and not for the visible ones alone."""
    count = latent.tokens.shape[1]
    if count not in (tokens.shape[1], mask.visible.shape[1]):
        raise ValueError(
            f"the encoder gives {count} latents for {tokens.shape[1]} tokens, {mask.visible.shape[1]} of them visible; "
            "this decoder needs one latent a visible token or one a token"
        )
    return count == tokens.shape[1] and count != mask.visible.shape[1]


def visible_latents(latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B V D"]:
    """Return the latents of the visible tokens, in the order of ``mask.visible``."""
    return take(latent.tokens, mask.visible) if is_dense(latent, tokens, mask) else latent.tokens


def refuse_blocks(mask: Mask, name: str) -> None:
    """Raise ValueError if hidden tokens form several blocks and a decoder would mix them."""
    if mask.blocks > 1:
        raise ValueError(
            f"{name} lets the {mask.blocks} target blocks of this mask see each other; wrap it in PerBlock"
        )
