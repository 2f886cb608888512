"""The data types that all parts share: tokens, mask, latent, output.

Shapes: B samples, N tokens, V visible tokens, H hidden tokens, K selected tokens, D width, A axes of a coordinate, R
prefix tokens, T width of a target.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from maskkit.step import Result


@dataclass(frozen=True, slots=True)
class Span:
    """The tokens of one of several kinds: indices ``start`` to ``stop`` of the token axis.

    ``dim`` is the width of their contents and ``axes`` the number of their coordinates, which may be smaller than those
    of ``Tokens.x`` and ``Tokens.pos``; None means equal. ``grid`` is the number of tokens along each axis if they fill
    a grid. ``pos`` are the coordinates of these tokens if all samples share them; position tables are cached by them.
    """

    start: int
    stop: int
    dim: int
    grid: tuple[int, ...] | None = None
    axes: int | None = None
    pos: Float[Tensor, "1 n A"] | None = None


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a batch, as a tokenizer returns them.

    ``x`` [B N D] holds the contents (pixels of a patch, points of a group). ``pos`` [B|1 N A] holds the coordinates of
    each token, in units of tokens for grids (row, column; time, row, column) or of the data (x, y, z); its first axis
    is 1 if all samples share them. ``valid`` [B N] is False for tokens that are padding. ``grid`` is the number of
    tokens along each axis if they fill a grid, last axis fastest. ``spans`` maps names to the kinds of tokens if there
    are several, which follow each other on the token axis, with ``x`` padded to the widest.
    """

    x: Float[Tensor, "B N D"]
    pos: Float[Tensor, "B|1 N A"]
    valid: Bool[Tensor, "B N"] | None = None
    grid: tuple[int, ...] | None = None
    spans: Mapping[str, Span] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """The batch size and the number of tokens."""
        return self.x.shape[0], self.x.shape[1]

    def replace(self, **changes: object) -> Self:
        """Return a copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]  # dataclasses.replace is typed per field


@dataclass(frozen=True, slots=True)
class Query:
    """A further set of tokens that a decoder can predict.

    ``index`` [B K] holds their indices. ``weight`` [B K] in [0, 1] weights their losses; None weights them equally.
    ``blocks`` is the number of equal blocks that ``index`` consists of.
    """

    index: Int[Tensor, "B K"]
    weight: Float[Tensor, "B K"] | None = None
    blocks: int = 1


@dataclass(frozen=True, slots=True)
class Mask:
    """The indices of visible and of hidden tokens.

    ``visible`` [B V] and ``hidden`` [B H] are disjoint in every row, and a token may be in neither. ``visible`` may be
    empty. ``blocks`` is the number of equal target blocks that ``hidden`` consists of (I-JEPA); a token may be in
    several blocks, at most once in each. ``weight`` [B H] in [0, 1] weights the losses of hidden tokens; a weight of 0
    pads rows with fewer hidden tokens. ``sets`` maps names to further sets of tokens that a term or a decoder can
    predict. ``scores`` [B N] are the scores that the masker chose by; they may have a gradient (AdaMAE).
    """

    visible: Int[Tensor, "B V"]
    hidden: Int[Tensor, "B H"]
    blocks: int = 1
    weight: Float[Tensor, "B H"] | None = None
    sets: Mapping[str, Query] = field(default_factory=dict)
    scores: Float[Tensor, "B N"] | None = None

    @classmethod
    def hide(cls, hidden: Int[Tensor, "B H"], num_tokens: int) -> Self:
        """Return the mask that hides the given tokens and shows all others. Raises ValueError for indices out of range.

        >>> Mask.hide(torch.tensor([[2, 0]]), num_tokens=4).visible.tolist()
        [[1, 3]]
        """
        if hidden.ndim != 2 or not hidden.numel() or not 0 <= int(hidden.min()) <= int(hidden.max()) < num_tokens:
            span = f", from {int(hidden.min())} to {int(hidden.max())}" if hidden.numel() else ""
            raise ValueError(f"hidden must be [B H] of indices in [0, {num_tokens}), got {list(hidden.shape)}{span}")
        batch, num_hidden = hidden.shape
        is_hidden = torch.zeros(batch, num_tokens, dtype=torch.bool, device=hidden.device).scatter_(1, hidden, True)
        visible = is_hidden.int().argsort(dim=1, stable=True)[:, : num_tokens - num_hidden]
        return cls(visible=visible, hidden=hidden)

    def asking(self, name: str) -> Self:
        """Return the mask with another set of tokens as ``hidden``: "visible", or a name in ``sets``.

        The result is for decoders and targets. It need not pass ``check``. Raises ValueError for an unknown name.
        """
        if name == "hidden":
            return self
        if name == "visible":
            return replace(self, hidden=self.visible, weight=None, blocks=1)
        if name not in self.sets:
            known = ", ".join(("hidden", "visible", *self.sets))
            raise ValueError(f"the mask has no set {name!r}, it has {known}; choose one of them or another masker")
        query = self.sets[name]
        return replace(self, hidden=query.index, weight=query.weight, blocks=query.blocks)

    def to(self, device: torch.device | str) -> Self:
        """Return the mask on a device."""
        return replace(
            self,
            visible=self.visible.to(device),
            hidden=self.hidden.to(device),
            weight=None if self.weight is None else self.weight.to(device),
            sets={
                name: Query(each.index.to(device), None if each.weight is None else each.weight.to(device), each.blocks)
                for name, each in self.sets.items()
            },
            scores=None if self.scores is None else self.scores.to(device),
        )

    def check(self, tokens: Tokens) -> None:
        """Raise ValueError unless the mask fits the tokens.

        It waits for the device, so only user-supplied masks are checked.
        """
        batch, num_tokens = tokens.shape
        _check_index("visible", self.visible, batch, num_tokens)
        seen = _counts(self.visible, None, num_tokens)
        _refuse_repeats(seen, "in visible; name it once")
        asked = {"hidden": Query(self.hidden, self.weight, self.blocks)}
        asked |= {f"sets[{name!r}]": query for name, query in self.sets.items()}
        for name, query in asked.items():
            _check_query(name, query, batch, num_tokens)
        hidden = _counts(self.hidden, self.weight, num_tokens).clamp(max=1)
        _refuse_repeats(seen + hidden, "; visible and hidden are disjoint")


def _counts(index: Int[Tensor, "B K"], weight: Float[Tensor, "B K"] | None, num_tokens: int) -> Int[Tensor, "B N"]:
    """Return how often each token occurs in a row. Tokens with a weight of 0 do not count."""
    ones = torch.ones_like(index, dtype=torch.int32) if weight is None else (weight > 0).int()
    count = torch.zeros(len(index), num_tokens, dtype=torch.int32, device=index.device)
    return count.scatter_add_(1, index.long(), ones)


def _refuse_repeats(count: Int[Tensor, "B N"], where: str) -> None:
    if count.numel() and int(count.max()) > 1:
        row, token = divmod(int(count.argmax()), count.shape[1])
        raise ValueError(f"mask names token {token} of sample {row} more than once {where}".replace(" ;", ";"))


def _check_index(name: str, index: Tensor, batch: int, num_tokens: int) -> None:
    if index.ndim != 2 or index.shape[0] != batch:
        raise ValueError(f"mask.{name} must be [{batch} K] for this batch, got {list(index.shape)}")
    if index.dtype not in (torch.int64, torch.int32):
        raise ValueError(f"mask.{name} must hold integer indices, got {index.dtype}; a boolean mask is no Mask")
    if index.numel() and (int(index.min()) < 0 or int(index.max()) >= num_tokens):
        raise ValueError(f"mask.{name} must lie in [0, {num_tokens}), got [{int(index.min())}, {int(index.max())}]")


def _check_query(name: str, query: Query, batch: int, num_tokens: int) -> None:
    if query.index.ndim == 2 and query.index.shape[1] == 0:
        raise ValueError(f"mask.{name} names no token; leave at least one to predict")
    _check_index(name, query.index, batch, num_tokens)
    count, weight = query.index.shape[1], query.weight
    if query.blocks < 1 or count % query.blocks:
        raise ValueError(f"mask.{name} of {count} tokens cannot be made of {query.blocks} equal blocks")
    if weight is not None:
        if weight.shape != query.index.shape:
            raise ValueError(f"the weight of mask.{name} must be {list(query.index.shape)}, got {list(weight.shape)}")
        if not bool(((weight >= 0) & (weight <= 1)).all()) or not bool((weight > 0).any()):
            raise ValueError(f"the weight of mask.{name} must lie in [0, 1] and must not be 0 everywhere")
    weights = [None] * query.blocks if weight is None else list(weight.chunk(query.blocks, dim=1))
    for block, its_weight in zip(query.index.chunk(query.blocks, dim=1), weights, strict=True):
        _refuse_repeats(_counts(block, its_weight, num_tokens), f"in a block of {name}")


@dataclass(frozen=True, slots=True)
class Latent:
    """The output of an encoder.

    ``tokens`` [B V D] are in the order of ``mask.visible`` (sparse encoders), or they are all tokens [B N D] in their
    own order (dense encoders, and encoding without a mask). ``prefix`` [B R D] are class and register tokens.
    ``levels`` [B R+V D] are the outputs of the blocks or stages that the encoder keeps, prefix tokens first. ``grid``
    is the number of latents along each axis, for encoders whose latents have their own grid (Swin, Hiera).
    """

    tokens: Float[Tensor, "B V D"]
    prefix: Float[Tensor, "B R D"]
    valid: Bool[Tensor, "B V"] | None = None
    levels: tuple[Float[Tensor, "B R+V D"], ...] = ()
    grid: tuple[int, ...] | None = None

    @property
    def pooled(self) -> Float[Tensor, "B D"]:
        """The mean of the tokens of each sample, without padding and prefix tokens.

        MAE fine-tunes and VideoMAE probes on this mean ("global_pool"). MAE's class token is ``prefix[:, 0]``.
        """
        if self.valid is None:
            return self.tokens.mean(dim=1)
        weight = self.valid.to(self.tokens.dtype)[..., None]
        return (self.tokens * weight).sum(dim=1) / weight.sum(dim=1)

    def split(self, parts: int) -> "tuple[Latent, ...]":
        """Split the latents of ``parts`` batches that were encoded as one batch [parts*B ...]."""
        if parts == 1:
            return (self,)
        valid = [None] * parts if self.valid is None else self.valid.chunk(parts)
        levels = zip(*(level.chunk(parts) for level in self.levels), strict=True) if self.levels else [()] * parts
        pieces = zip(self.tokens.chunk(parts), self.prefix.chunk(parts), valid, levels, strict=True)
        return tuple(Latent(tokens, prefix, its_valid, its, self.grid) for tokens, prefix, its_valid, its in pieces)


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a masked model for a batch.

    ``loss`` is the weighted sum of ``terms``, the named summands of the objective. ``metrics`` holds further numbers by
    name. ``losses`` [B H], ``prediction`` [B H T], ``value`` [B H T] and ``mask`` are those of the first term under the
    first mask. ``views`` holds the results of all terms by name, one mapping per mask.
    """

    loss: Float[Tensor, ""]
    losses: Float[Tensor, "B H"]
    prediction: Float[Tensor, "B H T"]
    value: Float[Tensor, "B H T"]
    mask: Mask
    tokens: Tokens
    latent: Latent
    terms: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    metrics: Mapping[str, Float[Tensor, ""]] = field(default_factory=dict)
    views: "tuple[Mapping[str, Result], ...]" = ()


def take(x_BND: Float[Tensor, "B|1 N D"], index_BK: Int[Tensor, "B K"]) -> Float[Tensor, "B K D"]:
    """Select tokens: ``out[b, k] = x[b, index[b, k]]``. A batch axis of size 1 is shared by all samples.

    >>> take(torch.tensor([[[1.], [2.], [3.]]]), torch.tensor([[2, 0]])).flatten().tolist()
    [3.0, 1.0]
    """
    x_BND = x_BND.expand(index_BK.shape[0], -1, -1)
    return x_BND.gather(1, index_BK[..., None].expand(-1, -1, x_BND.shape[-1]))


def put(x_BND: Float[Tensor, "B N D"], index_BK: Int[Tensor, "B K"], value_BKD: Tensor) -> Float[Tensor, "B N D"]:
    """Return a copy of ``x`` with ``out[b, index[b, k]] = value[b, k]``; the inverse of ``take``.

    >>> put(torch.zeros(1, 3, 1), torch.tensor([[2]]), torch.ones(1, 1, 1)).flatten().tolist()
    [0.0, 0.0, 1.0]
    """
    index = index_BK[..., None].expand(-1, -1, x_BND.shape[-1])
    return x_BND.scatter(1, index, value_BKD.to(x_BND.dtype))
