"""Decoders that wrap another decoder."""

from jaxtyping import Float
from torch import Tensor, nn

from maskkit.decoder.protocol import Decoder
from maskkit.parts import part
from maskkit.step import Step, call
from maskkit.types import Latent, Mask, Tokens


@part
class PerBlock(nn.Module):
    """Predict each block of a mask separately by another decoder. I-JEPA (arXiv:2301.08243), section 3.

    Each block of ``mask.hidden`` is predicted as if the others did not exist. All blocks are folded into the batch and
    predicted in one pass.
    """

    def __init__(self, *, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self, latent: Latent, tokens: Tokens, mask: Mask, *, step: Step | None = None
    ) -> Float[Tensor, "B K T"]:
        """Return predictions in the order of ``mask.hidden``."""
        if mask.blocks == 1:
            return call(self.decoder, latent, tokens, mask, step=step)
        blocks, hidden = mask.blocks, mask.hidden

        def repeated(x: Tensor) -> Tensor:
            return x.repeat_interleave(blocks, dim=0)

        latents = Latent(
            tokens=repeated(latent.tokens),
            prefix=repeated(latent.prefix),
            valid=None if latent.valid is None else repeated(latent.valid),
            levels=tuple(repeated(level) for level in latent.levels),
            grid=latent.grid,
        )
        places = tokens.replace(
            x=repeated(tokens.x),
            pos=tokens.pos if tokens.pos.shape[0] == 1 else repeated(tokens.pos),
            valid=None if tokens.valid is None else repeated(tokens.valid),
        )
        asked = Mask(visible=repeated(mask.visible), hidden=hidden.reshape(blocks * hidden.shape[0], -1))
        found = call(self.decoder, latents, places, asked, step=step)
        return found.reshape(*hidden.shape, found.shape[-1])


@part
class AtLevel(nn.Module):
    """Apply another decoder to a level that the encoder kept instead of its output. LocalMIM (arXiv:2305.16820).

    ``level`` is an index into the encoder's ``keep``, from 0. Raises ValueError if there is no such level.
    """

    def __init__(self, *, decoder: Decoder, level: int) -> None:
        super().__init__()
        self.decoder, self.level = decoder, level

    def forward(
        self, latent: Latent, tokens: Tokens, mask: Mask, *, step: Step | None = None
    ) -> Float[Tensor, "B K T"]:
        """Return predictions from the level, in the order of ``mask.hidden``."""
        if not 0 <= self.level < len(latent.levels):
            raise ValueError(f"the encoder keeps {len(latent.levels)} levels, so there is no level {self.level}")
        level, num_prefix = latent.levels[self.level], latent.prefix.shape[1]
        chosen = Latent(level[:, num_prefix:], level[:, :num_prefix], latent.valid, (), latent.grid)
        return call(self.decoder, chosen, tokens, mask, step=step)
