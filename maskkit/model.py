"""The masked model, which combines the six parts of a method."""

import inspect
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from maskkit.batches import Batch
from maskkit.decoder import Decoder
from maskkit.encoder import Encoder
from maskkit.layers import check_names
from maskkit.losses import Loss, MeanSquared
from maskkit.maskers import Masker
from maskkit.parts import inner_parts, part
from maskkit.step import OneProcess, Result, Step, World, call
from maskkit.targets import Painted, Target
from maskkit.terms import Term, predict
from maskkit.tokenizers import Tokenizer
from maskkit.types import Latent, Mask, Output, Tokens, take

FIRST = "predict"  # name of the first term


@part
class MaskedModel(nn.Module):
    """Tokenize, mask, encode, decode. A method is a choice of parts (see ``maskkit.methods``).

    Decoder, target and loss make the first term of the objective, for the set of tokens ``on``: "hidden", "visible" or
    a named set of the mask. ``also`` holds further terms by name, which are added with their own weights.

    Any part, and any module inside a part, may have ``setup(model)``, which is called once after construction, and
    ``after_step(model, progress)``, which is called after each optimiser step. Raises ValueError for a further term
    with the name of the first.
    """

    def __init__(
        self,
        *,
        tokenizer: Tokenizer,
        masker: Masker,
        encoder: Encoder,
        decoder: Decoder,
        target: Target,
        loss: Loss = MeanSquared(),  # noqa: B008  # frozen, without state
        also: Mapping[str, Term] | None = None,
        on: str = "hidden",
    ) -> None:
        super().__init__()
        self.tokenizer, self.masker = tokenizer, masker
        self.encoder, self.decoder, self.target = encoder, decoder, target
        self.loss = loss
        self.on = on
        if FIRST in (also or {}):
            raise ValueError(f"{FIRST!r} is the name of the first term; call a further term something else")
        self.further: dict[str, Term] = dict(also or {})
        check_names(self.further, "a term")
        self.also = nn.ModuleDict({name: term for name, term in self.further.items() if isinstance(term, nn.Module)})
        held = dict(self._modules_in_plain_parts())
        if held:  # modules are only found inside modules; a masker may be none and hold one that scores tokens
            self.held = nn.ModuleDict(held)
        self.progress = 0.0  # completed share of the run, in [0, 1]; the engine sets it before each pass
        self.world: World = OneProcess()
        self.setup()

    def forward(
        self, batch: Batch, mask: Mask | Sequence[Mask] | None = None, rng: torch.Generator | None = None
    ) -> Output:
        """Mask the batch, predict and compute the loss. Without ``mask``, the masker draws one from ``rng``.

        ``out.loss`` is the weighted sum of the terms. The first term is the mean over all hidden tokens of the batch
        (docs/official.md M8). Raises ValueError for a batch or a mask that does not fit.
        """
        tokens = self.tokenizer(batch)
        step = Step(self, batch, tokens, rng, self.progress, self.world)
        masks = self._masks(step, mask)
        views = [step.under(each, latent) for each, latent in zip(masks, self._encode(tokens, masks), strict=True)]
        for view in views:
            view.results[FIRST] = predict(view, self.decoder, self.target, self.loss, self.on)
            for name, term in self.further.items():
                view.results[name] = term(view)
        return self._output(step, views)

    def masks(self, batch: Batch, rng: torch.Generator | None = None) -> tuple[Mask, ...]:
        """Return the masks that a forward pass with the same state of ``rng`` draws."""
        return self._masks(Step(self, batch, self.tokenizer(batch), rng, self.progress, self.world), None)

    def encode(self, batch: Batch) -> Latent:
        """Return the latents of a batch with nothing hidden, with tokens in their own order."""
        return self.encoder(self.tokenizer(batch))

    @torch.no_grad()
    def reconstruct(
        self, batch: Batch, mask: Mask | Sequence[Mask] | None = None, rng: torch.Generator | None = None
    ) -> Batch:
        """Return the batch with hidden tokens replaced by predictions, in the units and the shape of the batch."""
        return self.paint(self(batch, mask, rng), batch)

    def paint(self, output: Output, batch: Batch, contents: Tensor | None = None) -> Batch:
        """Return the batch with hidden tokens replaced by the prediction of a forward pass, or by ``contents`` [B H D].

        Raises ValueError if predictions of the target are not contents of tokens (latents, codes).
        """
        if contents is None:
            if not isinstance(self.target, Painted):
                raise ValueError(
                    f"{type(self.target).__name__} predicts no contents of tokens, so there is no reconstruction"
                )
            contents = self.target.contents(output.prediction.float(), output.tokens, output.mask)
        index, contents = _without_padding(output.mask, contents)
        return self.tokenizer.to_input(self.tokenizer.paint(output.tokens, index, contents), batch)

    def setup(self) -> None:
        """Call ``setup`` of all parts, which may copy other parts. Call it again after weights were replaced."""
        for each in self._parts():
            begin = getattr(each, "setup", None)
            if begin is not None:
                begin(self)

    def after_step(self, progress: float) -> None:
        """Update teachers, clusters and schedules. Called after each optimiser step, with progress in [0, 1]."""
        for each in self._parts():
            move = getattr(each, "after_step", None)
            if move is not None:
                move(self, progress)

    def _parts(self) -> Iterator[object]:
        """Yield all modules except this one, and all parts that are no modules."""
        yield from (module for module in self.modules() if module is not self)
        seen = set[int]()
        for _, each in self._plain_parts():
            if id(each) not in seen:
                seen.add(id(each))
                yield each

    def _plain_parts(self) -> Iterator[tuple[str, object]]:
        """Yield the parts that are no modules with their paths, those inside modules included."""
        names = ("tokenizer", "masker", "encoder", "decoder", "target", "loss")
        every = {name: getattr(self, name) for name in names} | self.further
        for name, each in every.items():
            yield from ((path, one) for path, one in ((name, each), *inner_parts(each, name)) if not _is_module(one))

    def _modules_in_plain_parts(self) -> Iterator[tuple[str, nn.Module]]:
        """Yield modules that only parts which are no modules hold, with their paths."""
        known = set(self.modules())
        for path, each in self._plain_parts():
            for inside, module in inner_parts(each, path):
                if isinstance(module, nn.Module) and module not in known:
                    known |= set(module.modules())
                    yield inside, module

    def _masks(self, step: Step, given: Mask | Sequence[Mask] | None) -> tuple[Mask, ...]:
        """Return the masks of a pass: the given masks after a check, or those of the masker."""
        if given is None:
            drawn = call(self.masker, step.tokens, step.rng, step=step)
            return (drawn,) if isinstance(drawn, Mask) else tuple(drawn)
        masks = (given,) if isinstance(given, Mask) else tuple(given)
        if not masks:
            raise ValueError("the sequence of masks is empty; give at least one mask, or None to draw one")
        masks = tuple(mask.to(step.device) for mask in masks)
        for mask in masks:
            mask.check(step.tokens)
        return masks

    def _encode(self, tokens: Tokens, masks: tuple[Mask, ...]) -> tuple[Latent, ...]:
        """Encode under each mask. Masks of one shape share a pass, unless a module keeps statistics of its batch."""
        if len(masks) == 1 or any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in self.modules()):
            return tuple(self.encoder(tokens, mask) for mask in masks)
        shapes = [(mask.visible.shape, mask.hidden.shape) for mask in masks]
        found: dict[int, Latent] = {}
        for shape in dict.fromkeys(shapes):
            places = [place for place, each in enumerate(shapes) if each == shape]
            found |= zip(places, self._encode_alike(tokens, [masks[place] for place in places]), strict=True)
        return tuple(found[place] for place in range(len(masks)))

    def _encode_alike(self, tokens: Tokens, masks: list[Mask]) -> tuple[Latent, ...]:
        """Encode under masks of one shape in one pass."""
        count = len(masks)
        if count == 1:
            return (self.encoder(tokens, masks[0]),)
        repeated = tokens.replace(
            x=tokens.x.repeat(count, 1, 1),
            pos=tokens.pos if tokens.pos.shape[0] == 1 else tokens.pos.repeat(count, 1, 1),
            valid=None if tokens.valid is None else tokens.valid.repeat(count, 1),
        )
        visible, hidden = (torch.cat([getattr(mask, name) for mask in masks]) for name in ("visible", "hidden"))
        return self.encoder(repeated, Mask(visible=visible, hidden=hidden)).split(count)

    def _output(self, step: Step, views: list[Step]) -> Output:
        """Sum the terms. A term is the mean over masks of its weighted mean over tokens."""
        with step.float32():
            terms = {name: _mean([view.results[name].mean() for view in views]) for name in views[0].results}
            loss = terms[FIRST]
            for name, term in self.further.items():
                loss = loss + term.weight * terms[name]
        first: Result = views[0].results[FIRST]
        assert first.prediction is not None and first.value is not None and first.mask is not None
        return Output(
            loss=loss,
            losses=first.losses,
            prediction=first.prediction,
            value=first.value,
            mask=first.mask,
            tokens=step.tokens,
            latent=views[0].latent,
            terms=terms,
            metrics={name: _mean(values) for name, values in step.metrics.items()},
            views=tuple(view.results for view in views),
        )


def _without_padding(mask: Mask, contents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the indices and contents [B H D] of hidden tokens, with a weight of 0 replaced by a token that counts."""
    if mask.weight is None:
        return mask.hidden, contents
    counts = mask.weight > 0
    own = torch.arange(counts.shape[1], device=counts.device).expand_as(counts)
    place = torch.where(counts, own, counts.int().argmax(dim=1, keepdim=True))
    return mask.hidden.gather(1, place), take(contents, place)


def _is_module(value: object) -> bool:
    return isinstance(value, nn.Module)


def _mean(values: list[Tensor]) -> Tensor:
    """Return the mean of some numbers. A single number is returned unchanged."""
    return values[0] if len(values) == 1 else torch.stack(values).mean()


def check_parts(name: str, parts: Mapping[str, object]) -> None:
    """Raise ValueError if a keyword argument of the preset ``name`` is no part of a model."""
    unknown = parts.keys() - inspect.signature(MaskedModel).parameters.keys()
    if unknown:
        raise ValueError(f"{name} has no argument {', '.join(sorted(unknown))}")
