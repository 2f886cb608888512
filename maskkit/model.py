"""The masked model: the only place that knows all six parts."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from maskkit.losses import MeanSquared
from maskkit.maskers import Masker
from maskkit.parts import part
from maskkit.tokenizers import Tokenizer
from maskkit.types import Latent, Mask, Output


@part
class MaskedModel(nn.Module):
    """Tokenize, mask, encode, decode. A published method is a choice of the six parts; see ``maskkit.modalities``."""

    encoder: Any  # torch types a submodule as Module | Tensor, which says less than the protocols in the other files
    decoder: Any
    target: Any

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        masker: Masker,
        encoder: nn.Module,
        decoder: nn.Module,
        target: nn.Module,
        loss: Any = MeanSquared(),  # noqa: B008  # frozen, without state
    ) -> None:
        super().__init__()
        self.tokenizer, self.masker = tokenizer, masker
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.loss = loss

    def forward(self, batch: Any, mask: Mask | None = None, rng: torch.Generator | None = None) -> Output:
        """Hide, predict and compare. A mask given from outside is obeyed; otherwise the masker draws one from ``rng``.

        The loss is the mean over all hidden tokens of the batch (docs/official.md M8).
        """
        tokens = self.tokenizer(batch)
        if mask is None:
            mask = self.masker(tokens, rng)
        else:
            mask = mask.to(tokens.x.device)
            mask.check(tokens)
        with torch.autocast(tokens.x.device.type, enabled=False):
            value = self.target(tokens, mask, batch)
        latent = self.encoder(tokens, mask)
        prediction = self.decoder(latent, tokens, mask)
        with torch.autocast(tokens.x.device.type, enabled=False):
            losses = self.loss(prediction, value)
            loss = losses.mean()
        return Output(
            loss=loss, losses=losses, prediction=prediction, value=value, mask=mask, tokens=tokens, latent=latent
        )

    def encode(self, batch: Any) -> Latent:
        """Return the latents of a whole batch: nothing hidden, tokens in their own order."""
        return self.encoder(self.tokenizer(batch))

    @torch.no_grad()
    def reconstruct(self, batch: Any, mask: Mask | None = None, rng: torch.Generator | None = None) -> Any:
        """Return the batch with hidden tokens replaced by predictions, in the batch's own units."""
        return self.paint(self(batch, mask, rng), batch)

    def paint(self, output: Output, batch: Any, contents: Tensor | None = None) -> Any:
        """Paint a forward pass: hidden tokens show the prediction, or ``contents`` where given (grey, say)."""
        if contents is None:
            contents = self.target.contents(output.prediction.float(), output.tokens, output.mask)
        return self.tokenizer.to_input(self.tokenizer.paint(output.tokens, output.mask.hidden, contents), batch)

    def after_step(self, progress: float) -> None:
        """Move teachers, clusters and schedules; called after each optimiser step with progress in [0, 1]."""
        move = getattr(self.target, "after_step", None)
        if move is not None:
            move(self, progress)


def check_parts(name: str, parts: Mapping[str, Any]) -> None:
    """Raise ValueError where a preset called ``name`` is given keyword arguments that are no parts of a model."""
    unknown = parts.keys() - inspect.signature(MaskedModel).parameters.keys()
    if unknown:
        raise ValueError(f"{name} has no argument {', '.join(sorted(unknown))}")
