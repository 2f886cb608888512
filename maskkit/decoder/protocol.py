"""The decoder protocol, and helpers for the latents of sparse and dense encoders."""

from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor

from maskkit.types import Latent, Mask, Tokens, take


class Decoder(Protocol):
    """Predicts the tokens in ``mask.hidden``, in their order: (latent, tokens, mask) -> [B K T].

    A decoder that needs more arguments declares ``*, step``. A decoder that reads contents of hidden tokens (such as a
    noisy copy) has the attribute ``reads_hidden = True``.
    """

    def __call__(self, latent: Latent, tokens: Tokens, mask: Mask, *_: Any, **__: Any) -> Float[Tensor, "B K T"]:
        """Return one prediction per predicted token."""


def is_dense(latent: Latent, tokens: Tokens, mask: Mask) -> bool:
    """Return whether there is one latent per token (True) or per visible token (False). Raises ValueError otherwise."""
    count = latent.tokens.shape[1]
    if count not in (tokens.shape[1], mask.visible.shape[1]):
        raise ValueError(
            f"the encoder gives {count} latents for {tokens.shape[1]} tokens, {mask.visible.shape[1]} of them visible; "
            "this decoder needs one latent per visible token or one per token"
        )
    return count == tokens.shape[1] and count != mask.visible.shape[1]


def visible_latents(latent: Latent, tokens: Tokens, mask: Mask) -> Float[Tensor, "B V D"]:
    """Return the latents of the visible tokens [B V D], in the order of ``mask.visible``."""
    return take(latent.tokens, mask.visible) if is_dense(latent, tokens, mask) else latent.tokens


def refuse_blocks(mask: Mask, name: str) -> None:
    """Raise ValueError if hidden tokens form several blocks, for a decoder that would mix them."""
    if mask.blocks > 1:
        raise ValueError(
            f"{name} lets the {mask.blocks} target blocks of this mask see each other; wrap it in PerBlock"
        )
