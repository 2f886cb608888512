"""The conformance suite: what every tokenizer, masker and modality has to keep, ours and yours.

Call these from a test. They raise AssertionError with one line that names the law and what broke it.
"""

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from maskkit.maskers import Masker
from maskkit.modality import Modality, as_modality
from maskkit.model import MaskedModel
from maskkit.tokenizers import Tokenizer
from maskkit.types import Mask, Tokens, put, take


def check_tokenizer(tokenizer: Tokenizer, batch: Any) -> Tokens:
    """Hold a tokenizer to its laws on a batch of at least two samples; returns the tokens.

    Shapes agree · cutting is deterministic and per sample · contents painted back give the batch. Where tokens overlap
    or leave something out, the tokenizer says so by ``partition = False``; then what is painted cannot be the batch,
    and the law is that a token's own contents change nothing, and another's change no more than one token holds.
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
    alone = tokenizer(batch[:1])
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


def _check_overlapping(tokenizer: Tokenizer, tokens: Tokens, batch: Any) -> Tokens:
    """Hold the painting of tokens that are no partition of the batch to what still has to be true."""
    everything = torch.arange(tokens.shape[1], device=tokens.x.device).expand(tokens.shape[0], -1).flip(1)
    plain = tokenizer.to_input(tokenizer.paint(tokens, everything[:, :0], tokens.x[:, :0]), batch)
    painted = tokenizer.to_input(tokenizer.paint(tokens, everything, take(tokens.x, everything)), batch)
    _law(_same(painted, plain), "painting a token's own contents changes nothing", painted)
    others = torch.zeros_like(tokens.x[:, :1]) - 7.0
    touched = tokenizer.to_input(tokenizer.paint(tokens, everything[:, :1], others), batch)
    changed = (touched != plain).flatten(1).sum(dim=1)
    _law(bool((changed > 0).all()), "painting one token changes that token", touched)
    _law(bool((changed <= tokenizer.width).all()), "painting one token leaves the others", touched)
    return tokens


def check_masker(masker: Masker, tokens: Tokens) -> Mask:
    """Hold a masker to its laws on tokens; returns a mask.

    Visible and hidden are disjoint, in range and equally many in every sample · padding is in neither · the same
    generator state gives the same mask, another state another · counts depend on the shape alone.
    """
    size, num_tokens = tokens.shape

    def draw(seed: int) -> Mask:
        return masker(tokens, torch.Generator().manual_seed(seed))

    mask = draw(0)
    try:
        mask.check(tokens)
    except ValueError as error:
        raise AssertionError(str(error)) from error
    if tokens.valid is not None:
        for name, index in (("visible", mask.visible), ("hidden", mask.hidden)):
            _law(bool(tokens.valid.gather(1, index).all()), f"{name} holds no padding", index)
    _law(mask.hidden.shape[1] % mask.blocks == 0, "hidden is made of equal blocks", mask.hidden)
    _law(_equal(mask, draw(0)), "the same state of rng gives the same mask", mask.visible)
    others = [draw(seed) for seed in range(1, 9)]
    for other in others:
        same = other.visible.shape == mask.visible.shape and other.hidden.shape == mask.hidden.shape
        _law(same, "counts do not depend on chance", other.visible)
    global_state = torch.get_rng_state()
    draw(0)
    _law(
        torch.equal(global_state, torch.get_rng_state()), "an rng given leaves the global generator alone", mask.visible
    )
    if num_tokens > 8 and size > 1:
        _law(any(not _equal(mask, other) for other in others), "another state gives another mask", mask.visible)
    return mask


def check_model(model: MaskedModel, batch: Any) -> None:
    """Hold a model to the laws of masked modelling on a batch.

    Shapes and loss agree · a mask given is obeyed · nothing hidden leaks into the prediction · every trained weight
    gets a gradient · encode returns every token.
    """
    model = model.eval()
    tokens = model.tokenizer(batch)
    out = model(batch, rng=torch.Generator().manual_seed(0))
    hidden = out.mask.hidden.shape
    _law(
        out.prediction.shape[:2] == hidden and out.prediction.shape == out.value.shape,
        "prediction is [B H T]",
        out.value,
    )
    _law(out.losses.shape == hidden and out.losses.dtype == torch.float32, "losses are float32 [B H]", out.losses)
    _law(torch.allclose(out.loss, out.losses.mean()), "the loss is the mean over hidden tokens", out.loss)

    again = model(batch, mask=out.mask)
    _law(torch.equal(again.prediction, out.prediction), "a mask given from outside is obeyed", again.prediction)

    noise = torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(1)).to(tokens.x)
    poisoned = tokens.replace(x=put(tokens.x, out.mask.hidden, take(noise, out.mask.hidden)))
    blind = model.decoder(model.encoder(poisoned, out.mask), poisoned, out.mask)
    _law(torch.equal(blind, out.prediction), "hidden contents do not leak", blind)
    changed = model.tokenizer.paint(tokens, out.mask.hidden, take(noise, out.mask.hidden))
    if _floats(changed) and getattr(model.tokenizer, "partition", True):
        before = model(model.tokenizer.paint(tokens, out.mask.hidden[:, :0], noise[:, :0]), mask=out.mask)
        after = model(changed, mask=out.mask)
        _law(torch.equal(before.prediction, after.prediction), "hidden contents do not leak", after.prediction)

    out.loss.backward()
    idle = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    _law(not idle, f"every trained weight gets a gradient, not so {', '.join(idle[:3])}", out.loss)
    model.zero_grad()

    latent = model.encode(batch)
    _law(latent.tokens.shape[:2] == tokens.shape, "encode returns every token", latent.tokens)
    _law(latent.pooled.shape == (tokens.shape[0], latent.tokens.shape[2]), "pooled is [B D]", latent.pooled)


def check_modality(modality: Modality | ModuleType) -> None:
    """Hold a modality to its laws, on the sample and with the tiny model that it ships.

    Takes a ``Modality``, a module whose ``MODALITY`` is one, or a module with only ``NAME``, ``sample`` and ``tiny``.
    Runs the checks above on the model's own tokenizer and masker. Of a ``Modality`` it also checks that ``draw`` writes
    its picture, that the data settings can be opened, and that ``findings`` yields rows.
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
        found.draw(batch, model(batch, rng=torch.Generator().manual_seed(0)), model, path)  # type: ignore[arg-type]  # a draw of fields takes fields
        _law(path.exists() and path.stat().st_size > 0, f"draw of {found.name} writes a picture", None)
    for name in ("at", "open"):
        _law(callable(getattr(found.data, name, None)), f"data of {found.name} has {name}", None)
    rows = list(found.findings()) if found.findings is not None else []
    kinds = [tuple(type(cell) for cell in row) for row in rows]
    _law(kinds == [(str, bool, str, str)] * len(rows), f"findings of {found.name} are (text, bool, text, text)", None)


def _check_tiny(model: MaskedModel, batch: Any) -> None:
    tokens = check_tokenizer(model.tokenizer, batch)
    check_masker(model.masker, tokens)
    check_model(model, batch)


def _law(holds: bool, law: str, where: Tensor | None) -> None:
    if not holds:
        shape = "" if not isinstance(where, Tensor) else f" (tensor {list(where.shape)}, {where.dtype})"
        raise AssertionError(f"broken law: {law}{shape}")


def _floats(batch: Any) -> bool:
    return isinstance(batch, Tensor) and batch.is_floating_point()


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.shape == right.shape and torch.allclose(left.float(), right.float(), atol=1e-6)
    return len(left) == len(right) and all(_same(a, b) for a, b in zip(left, right, strict=True))


def _equal(left: Mask, right: Mask) -> bool:
    return torch.equal(left.visible, right.visible) and torch.equal(left.hidden, right.hidden)
