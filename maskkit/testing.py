"""The conformance suite: properties that every tokenizer, masker, model and modality must have.

Call these functions from a test. They raise AssertionError with one line that names the violated property.
"""

import importlib.util
import tempfile
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor

from maskkit.batches import Batch, Fields, batch_size, input_of
from maskkit.maskers import Masker
from maskkit.modality import Modality, as_modality
from maskkit.model import FIRST, MaskedModel
from maskkit.parts import build_as, describe
from maskkit.step import Result, Step, call
from maskkit.terms import Predict
from maskkit.tokenizers import Tokenizer
from maskkit.types import Mask, Output, Tokens, put, take


def check_tokenizer(tokenizer: Tokenizer, batch: Batch) -> Tokens:
    """Check a tokenizer on a batch of at least two samples, and return the tokens. Raises AssertionError.

    Shapes agree. Cutting is deterministic and independent per sample. Painting the contents back gives the batch. A
    tokenizer whose tokens overlap or leave out contents has the attribute ``partition = False``. Then painting a
    token's own contents must change nothing, and painting other contents must change at most the contents of one token.
    """
    tokens = tokenizer(batch)
    size, num_tokens = tokens.shape
    _law(tokens.x.is_floating_point() and tokens.x.ndim == 3, "x is float [B N D]", tokens.x)
    _law(tokens.x.shape[2] == tokenizer.width, f"x is as wide as tokenizer.width = {tokenizer.width}", tokens.x)
    _law(tokens.pos.ndim == 3 and tokens.pos.shape[0] in (1, size), "pos is [B|1 N A]", tokens.pos)
    _law(tokens.pos.shape[1] == num_tokens, "pos places every token", tokens.pos)
    _law(bool(torch.isfinite(tokens.x).all() and torch.isfinite(tokens.pos).all()), "x and pos are finite", tokens.x)
    if tokens.grid is not None:
        _law(torch.tensor(tokens.grid).prod().item() == num_tokens, f"grid {tokens.grid} counts the tokens", tokens.x)
    if tokens.valid is not None:
        _law(tokens.valid.shape == (size, num_tokens), "valid is [B N]", tokens.valid)
        _law(bool(tokens.valid.any(dim=1).all()), "every sample has a valid token", tokens.valid)

    again = tokenizer(batch)
    _law(torch.equal(tokens.x, again.x) and torch.equal(tokens.pos, again.pos), "the same batch cuts the same", again.x)
    alone = tokenizer(_first(batch))
    _law(torch.equal(alone.x[0], tokens.x[0, : alone.shape[1]]), "a sample cuts the same alone as in a batch", alone.x)

    everything = torch.arange(num_tokens, device=tokens.x.device).expand(size, -1).flip(1)
    if not getattr(tokenizer, "partition", True):
        return _check_overlapping(tokenizer, tokens, batch)
    painted = tokenizer.to_input(tokenizer.paint(tokens, everything, take(tokens.x, everything)), batch)
    _law(_same(painted, batch), "paint(cut(batch)) gives the batch", painted)
    blank = tokenizer.paint(tokens, everything[:, :1], torch.zeros_like(tokens.x[:, :1]))
    touched = tokenizer(blank).x if _floats(blank) else None
    if touched is not None and tokens.valid is None:
        kept, changed = touched[:, : num_tokens - 1], touched[:, num_tokens - 1 :]
        _law(torch.allclose(kept, tokens.x[:, : num_tokens - 1]), "painting one token leaves the others", kept)
        _law(not changed.any(), "painting one token changes that token", changed)
    return tokens


def _check_overlapping(tokenizer: Tokenizer, tokens: Tokens, batch: Batch) -> Tokens:
    """Check the painting of tokens that overlap or leave out contents."""
    everything = torch.arange(tokens.shape[1], device=tokens.x.device).expand(tokens.shape[0], -1).flip(1)
    plain = tokenizer.to_input(tokenizer.paint(tokens, everything[:, :0], tokens.x[:, :0]), batch)
    painted = tokenizer.to_input(tokenizer.paint(tokens, everything, take(tokens.x, everything)), batch)
    _law(_same(painted, plain), "painting a token's own contents changes nothing", painted)
    others = torch.zeros_like(tokens.x[:, :1]) - 7.0
    touched = tokenizer.to_input(tokenizer.paint(tokens, everything[:, :1], others), batch)
    assert isinstance(touched, Tensor) and isinstance(plain, Tensor)
    changed = (touched != plain).flatten(1).sum(dim=1)
    _law(bool((changed > 0).all()), "painting one token changes that token", touched)
    _law(bool((changed <= tokenizer.width).all()), "painting one token leaves the others", touched)
    return tokens


def check_masker(masker: Masker, tokens: Tokens, *, step: Step | None = None) -> Mask:
    """Check a masker on tokens, and return its mask, or the first of several. Raises AssertionError.

    Visible and hidden are disjoint and in range. A token occurs at most once in a block. Weights lie in [0, 1] and are
    not all 0. Padding is in neither set. The same generator state gives the same masks, another state other masks.
    Counts depend on the shape only, unless ``varies`` is True. ``step`` is for maskers that depend on the model.
    """
    size, num_tokens = tokens.shape

    def draw(seed: int) -> tuple[Mask, ...]:
        rng = torch.Generator().manual_seed(seed)
        drawn = masker(tokens, rng) if step is None else call(masker, tokens, rng, step=step)
        return (drawn,) if isinstance(drawn, Mask) else tuple(drawn)

    masks = draw(0)
    for mask in masks:
        try:
            mask.check(tokens)
        except ValueError as error:
            raise AssertionError(str(error)) from error
        _check_padding(mask, tokens)
    _law(_all_equal(masks, draw(0)), "the same state of rng gives the same mask", masks[0].visible)
    others = [draw(seed) for seed in range(1, 9)]
    if not getattr(masker, "varies", False):
        for other in others:
            _law(_counts(other) == _counts(masks), "counts do not depend on chance", other[0].visible)
    global_state = torch.get_rng_state()
    draw(0)
    same = torch.equal(global_state, torch.get_rng_state())
    _law(same, "an rng given leaves the global generator alone", masks[0].visible)
    if num_tokens > 8 and size > 1:
        differ = any(not _all_equal(masks, other) for other in others)
        _law(differ, "another state gives another mask", masks[0].visible)
    return masks[0]


def _check_padding(mask: Mask, tokens: Tokens) -> None:
    if tokens.valid is None:
        return
    sets = {"visible": mask.visible, "hidden": mask.hidden} | {name: each.index for name, each in mask.sets.items()}
    for name, index in sets.items():
        _law(bool(tokens.valid.gather(1, index).all()), f"{name} holds no padding", index)


def check_model(model: MaskedModel, batch: Batch) -> None:
    """Check a model on a batch. Raises AssertionError.

    Shapes and losses agree for every term. The loss is the weighted sum of the terms. Given masks are used. Hidden
    contents do not leak into predictions, unless the decoder's ``reads_hidden`` is True. Every trained weight gets a
    gradient. ``encode`` returns every token, or the latents' own grid. A model that is built again from its description
    gives the same loss with the same weights.
    """
    model = model.eval()
    tokens = model.tokenizer(batch)
    out = model(batch, rng=torch.Generator().manual_seed(0))
    _check_output(model, out)

    masks = model.masks(batch, rng=torch.Generator().manual_seed(0))
    again = model(batch, mask=masks)
    _law(torch.equal(again.prediction, out.prediction), "a mask given from outside is obeyed", again.prediction)
    for number, mask in enumerate(masks):
        _check_leaks(model, batch, tokens, mask, out.views[number])
    if not getattr(model.decoder, "reads_hidden", False):
        _check_leaks_of_batch(model, batch, tokens, masks[0])

    torch.manual_seed(0)
    out.loss.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    _law(not idle, f"every trained weight gets a gradient, not so {', '.join(idle[:3])}", out.loss)
    model.zero_grad()

    latent = model.encode(batch)
    count = tokens.shape[1] if latent.grid is None else int(torch.tensor(latent.grid).prod())
    _law(latent.tokens.shape[:2] == (tokens.shape[0], count), "encode returns every token", latent.tokens)
    _law(latent.pooled.shape == (tokens.shape[0], latent.tokens.shape[2]), "pooled is [B D]", latent.pooled)
    _check_description(model, batch, out)


def _check_output(model: MaskedModel, out: Output) -> None:
    """Check the shapes and sums of a forward pass."""
    for view in out.views:
        for name, result in view.items():
            losses = result.losses
            _law(losses.dtype == torch.float32, f"losses of {name} are float32", losses)
            if result.mask is None or result.prediction is None or result.value is None:
                continue
            asked = result.mask.hidden.shape
            _law(result.prediction.shape[:2] == asked, f"prediction of {name} is [B K T]", result.prediction)
            _law(result.value.shape[:2] == asked, f"value of {name} is [B K] or [B K T]", result.value)
            _law(losses.shape == asked, f"losses of {name} are [B K]", losses)
    weights = {name: term.weight for name, term in model.further.items()}
    total = sum(value.item() * weights.get(name, 1.0) for name, value in out.terms.items())
    close = torch.allclose(out.loss, torch.tensor(total).to(out.loss), rtol=1e-4, atol=1e-6)
    _law(close, "the loss is the weighted sum of the terms", out.loss)


def _check_leaks(model: MaskedModel, batch: Batch, tokens: Tokens, mask: Mask, results: Mapping[str, Result]) -> None:
    """Check that all predictions are equal, bit for bit, if contents change that are not visible."""
    index = _not_visible(tokens, mask)
    poisoned = tokens.replace(x=put(tokens.x, index, _noise(tokens, index)))
    step = Step(model, batch, poisoned).under(mask, model.encoder(poisoned, mask))
    terms = [(FIRST, model.decoder, model.on)]
    terms += [(name, term.decoder, term.on) for name, term in model.further.items() if isinstance(term, Predict)]
    for name, decoder, on in terms:
        if not getattr(decoder, "reads_hidden", False):
            blind = call(decoder, step.latent, poisoned, mask.asking(on), step=step)
            seen = results[name].prediction
            _law(seen is not None and torch.equal(blind, seen), f"hidden contents do not leak (term {name})", blind)


def _check_leaks_of_batch(model: MaskedModel, batch: Batch, tokens: Tokens, mask: Mask) -> None:
    """Check the same with the tokenizer, if hidden contents can be painted into the batch."""
    index = _not_visible(tokens, mask)
    changed = model.tokenizer.paint(tokens, index, _noise(tokens, index))
    if _floats(changed) and not isinstance(batch, Fields) and getattr(model.tokenizer, "partition", True):
        before = model(model.tokenizer.paint(tokens, index[:, :0], tokens.x[:, :0]), mask=mask)
        after = model(changed, mask=mask)
        _law(torch.equal(before.prediction, after.prediction), "hidden contents do not leak", after.prediction)


def _not_visible(tokens: Tokens, mask: Mask) -> Tensor:
    """Return the indices [B N-V] of all tokens that are not visible."""
    if mask.visible.shape[1]:
        return Mask.hide(mask.visible, tokens.shape[1]).visible
    return torch.arange(tokens.shape[1], device=tokens.x.device).expand(tokens.shape)


def _noise(tokens: Tokens, index: Tensor) -> Tensor:
    """Return random contents [B K D] of tokens."""
    rng = torch.Generator().manual_seed(1)
    return torch.randn(*index.shape, tokens.x.shape[-1], generator=rng).to(tokens.x)


def _check_description(model: MaskedModel, batch: Batch, out: Output) -> None:
    """Check that the model can be built again from its description."""
    again = build_as(MaskedModel, describe(model)).to(out.loss.device).eval()
    again.load_state_dict(model.state_dict())
    loss = again(batch, rng=torch.Generator().manual_seed(0)).loss
    _law(torch.equal(loss, out.loss), "a model built from its description gives the same loss", loss)


def check_modality(modality: Modality | ModuleType) -> None:
    """Check a modality with its built-in sample and tiny model. Raises AssertionError.

    ``modality`` is a ``Modality``, a module with an attribute ``MODALITY``, or a module with ``NAME``, ``sample`` and
    ``tiny`` only. The model, its tokenizer and its masker are checked. For a ``Modality``, ``draw`` must write a
    figure, the data settings must have ``at`` and ``open``, settings must be dataclasses, and ``findings`` must yield
    rows.
    """
    if isinstance(modality, ModuleType) and not hasattr(modality, "MODALITY"):
        for name in ("NAME", "sample", "tiny"):
            _law(hasattr(modality, name), f"{modality.__name__} has {name}", None)
        _check_tiny(modality.tiny(), modality.sample(4))
        return
    found = as_modality(modality)
    model, batch = found.tiny(), found.sample(4)
    _check_tiny(model, batch)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "figure.png"
        found.draw(batch, model(batch, rng=torch.Generator().manual_seed(0)), model, path)
        _law(path.exists() and path.stat().st_size > 0, f"draw of {found.name} writes a picture", None)
    for name in ("at", "open"):
        _law(callable(getattr(found.data, name, None)), f"data of {found.name} has {name}", None)
    for name in ("open", "fit", "inputs"):
        _law(callable(getattr(found, name)), f"{name} of {found.name} can be called", None)
    settings = {"inputs": found.input_settings, "data": found.data, **found.presets}
    for name, kind in settings.items():
        _law(isinstance(kind, type) and is_dataclass(kind), f"settings {name} of {found.name} are a dataclass", None)
    for name, preset in found.presets.items():
        _law(callable(getattr(preset, "build", None)), f"preset {name} of {found.name} has build", None)
    if found.bench is not None:
        _law(importlib.util.find_spec(found.bench) is not None, f"{found.bench} exists", None)
    if found.transcode is not None:
        _law(callable(getattr(found.transcode, "run", None)), f"transcode of {found.name} has run", None)
    rows = list(found.findings()) if found.findings is not None else []
    kinds = [tuple(type(cell) for cell in row) for row in rows]
    _law(kinds == [(str, bool, str, str)] * len(rows), f"findings of {found.name} are (text, bool, text, text)", None)


def _check_tiny(model: MaskedModel, batch: Batch) -> None:
    tokens = check_tokenizer(model.tokenizer, batch)
    check_masker(model.masker, tokens, step=Step(model, batch, tokens))
    check_model(model, batch)


def _law(holds: bool, law: str, where: object) -> None:
    if not holds:
        shape = "" if not isinstance(where, Tensor) else f" (tensor {list(where.shape)}, {where.dtype})"
        raise AssertionError(f"broken law: {law}{shape}")


def _floats(batch: Batch) -> bool:
    return isinstance(batch, Tensor) and batch.is_floating_point()


def _first(batch: Batch) -> Batch:
    """Return a batch of the first sample."""
    return Fields(**{name: x[:1] for name, x in batch.items()}) if isinstance(batch, Fields) else batch[:1]


def _same(left: Batch, right: Batch) -> bool:
    if isinstance(left, Fields) and isinstance(right, Fields):
        return set(left) <= set(right) and all(_same(left[name], right[name]) for name in left)
    left, right = input_of(left), input_of(right)
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.shape == right.shape and torch.allclose(left.float(), right.float(), atol=1e-6)
    return batch_size(left) == batch_size(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))


def _counts(masks: tuple[Mask, ...]) -> list[tuple[int, int]]:
    return [(mask.visible.shape[1], mask.hidden.shape[1]) for mask in masks]


def _all_equal(left: tuple[Mask, ...], right: tuple[Mask, ...]) -> bool:
    pairs = zip(left, right, strict=True)
    return all(torch.equal(a.visible, b.visible) and torch.equal(a.hidden, b.hidden) for a, b in pairs)
