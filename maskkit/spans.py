"""Several kinds of token in one sample, such as an image and its depth, or video and sound: ``Tokens.spans``.

The kinds follow each other on the token axis. Each has its own tokenizer and masker, and either its own encoder below
a joint one (CAV-MAE, arXiv:2210.07839, section 3.3) or only its own embedding (MultiMAE, arXiv:2204.01678, section 3.1:
``Streams`` of encoders of depth 0). Predictions of one kind are one term: ``Predict`` on the set of the kind's name.

Shapes: B samples, N tokens, V visible, H hidden, D width, T width of a target.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from timm.layers import LayerNorm
from torch import Tensor, nn

from maskkit.batches import Batch, Fields
from maskkit.encoder import Encoder
from maskkit.layers import Blocks, check_names
from maskkit.maskers.protocol import Masker
from maskkit.parts import part
from maskkit.positions import Positions
from maskkit.step import Step, call
from maskkit.targets import Painted, Target
from maskkit.tokenizers import Tokenizer
from maskkit.types import Latent, Mask, Query, Span, Tokens


def span_of(tokens: Tokens, name: str) -> Tokens:
    """Return the tokens of one kind, as its own tokenizer made them. Raises ValueError if there is no such kind."""
    if name not in tokens.spans:
        raise ValueError(f"the tokens have no span {name!r}, they have {', '.join(tokens.spans) or 'none'}")
    span = tokens.spans[name]
    inside = slice(span.start, span.stop)
    return Tokens(
        x=tokens.x[:, inside, : span.dim],
        pos=tokens.pos[:, inside, : span.axes] if span.pos is None else span.pos,
        valid=None if tokens.valid is None else tokens.valid[:, inside],
        grid=span.grid,
    )


@part
@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Cut each tensor of ``Fields`` by the tokenizer of its name, and put their tokens side by side.

    Contents and coordinates of the narrower kinds are padded with zeros. Raises ValueError for a batch that lacks one
    of the names.
    """

    tokenizers: Mapping[str, Tokenizer]

    @property
    def width(self) -> int:
        """The width of the widest kind of token."""
        return max(each.width for each in self.tokenizers.values())

    def __call__(self, batch: Batch) -> Tokens:
        """Return the tokens of all kinds, in the order of ``tokenizers``."""
        found = [each(x) for each, x in zip(self.tokenizers.values(), self._parts(batch), strict=True)]
        axes = max(tokens.pos.shape[-1] for tokens in found)
        shared = all(tokens.pos.shape[0] == 1 for tokens in found)
        batch_size = found[0].shape[0]
        x = [F.pad(tokens.x, (0, self.width - tokens.x.shape[-1])) for tokens in found]
        pos = [F.pad(tokens.pos, (0, axes - tokens.pos.shape[-1])) for tokens in found]
        valid = None
        if any(tokens.valid is not None for tokens in found):
            every = [tokens.x.new_ones(tokens.shape, dtype=torch.bool) for tokens in found]
            valid = torch.cat([v if t.valid is None else t.valid for t, v in zip(found, every, strict=True)], dim=1)
        spans, start = dict[str, Span](), 0
        for name, tokens in zip(self.tokenizers, found, strict=True):
            spans[name] = Span(start, start + tokens.shape[1], tokens.x.shape[-1], tokens.grid, *_places(tokens))
            start += tokens.shape[1]
        pos = pos if shared else [each.expand(batch_size, -1, -1) for each in pos]
        return Tokens(x=torch.cat(x, dim=1), pos=torch.cat(pos, dim=1), valid=valid, spans=spans)

    def paint(self, tokens: Tokens, index: Int[Tensor, "B K"], value: Float[Tensor, "B K D"]) -> Fields:
        """Return the batch with the contents of the tokens ``index`` replaced by ``value``."""
        x = tokens.x.scatter(1, index[..., None].expand_as(value), value.to(tokens.x.dtype))
        painted = dict[str, Tensor]()
        for name, tokenizer in self.tokenizers.items():
            own = span_of(tokens.replace(x=x), name)
            every = torch.arange(own.shape[1], device=x.device).expand(own.shape)
            painted[name] = _tensor(tokenizer.paint(own, every, own.x), name)
        return Fields(**painted)

    def to_input(self, painted: Batch, batch: Batch) -> Fields:
        """Convert the result of ``paint`` into the units of ``batch``."""
        pairs = zip(self.tokenizers.items(), self._parts(painted), self._parts(batch), strict=True)
        return Fields(**{name: _tensor(each.to_input(mine, its), name) for (name, each), mine, its in pairs})

    def _parts(self, batch: Batch) -> list[Tensor]:
        names = tuple(batch) if isinstance(batch, Fields) else ()
        missing = [name for name in self.tokenizers if name not in names]
        if missing or not isinstance(batch, Fields):
            raise ValueError(f"the batch must have tensors named {', '.join(self.tokenizers)}; it lacks {missing}")
        return [batch[name] for name in self.tokenizers]


def _places(tokens: Tokens) -> tuple[int, Tensor | None]:
    """Return the number of axes, and the coordinates if all samples share them."""
    return tokens.pos.shape[-1], tokens.pos if tokens.pos.shape[0] == 1 else None


def _check_kinds(kinds: Iterable[str], tokens: Tokens, what: str) -> None:
    """Raise ValueError unless there is one part for each kind of token."""
    if set(kinds) != set(tokens.spans):
        raise ValueError(f"{what} are for {', '.join(kinds)}, tokens have {', '.join(tokens.spans)}")


def _tensor(batch: Batch, name: str) -> Tensor:
    if not isinstance(batch, Tensor):
        raise ValueError(f"{name} is a list of samples; pad them to one size, since batches are named tensors")
    return batch


@part
@dataclass(frozen=True, kw_only=True)
class PerSpan:
    """Mask each kind of token by its own masker. CAV-MAE masks 75 % of both (arXiv:2210.07839, section 3.3).

    The hidden tokens of each kind are also a named set of the mask, for a term that predicts this kind. Visible and
    hidden tokens follow the order of the kinds. A masker sees the tokens of its kind only, and ``step`` those of all.
    Raises ValueError for maskers that do not fit the kinds of token.
    """

    maskers: Mapping[str, Masker]

    @property
    def varies(self) -> bool:
        """Whether counts change between calls."""
        return any(getattr(each, "varies", False) for each in self.maskers.values())

    def __call__(self, tokens: Tokens, rng: torch.Generator | None = None, *, step: Step) -> Mask:
        """Draw the masks of all kinds one after another from ``rng``."""
        _check_kinds(self.maskers, tokens, "maskers")
        visible, hidden, sets = list[Tensor](), list[Tensor](), dict[str, Query]()
        for name, span in tokens.spans.items():
            mask = call(self.maskers[name], span_of(tokens, name), rng, step=step)
            if not isinstance(mask, Mask) or mask.blocks > 1 or mask.weight is not None or mask.sets:
                raise ValueError(f"the masker of {name} must draw one mask of one block, without weights and sets")
            visible.append(mask.visible + span.start)
            hidden.append(mask.hidden + span.start)
            sets[name] = Query(hidden[-1])
        return Mask(visible=torch.cat(visible, dim=1), hidden=torch.cat(hidden, dim=1), sets=sets)


@part
class SpanPositions(nn.Module):
    """The positions of each kind of token, plus a learned vector of width ``dim`` for each kind, for joint decoders.

    CAV-MAE (arXiv:2210.07839), section 3.3, "modality type embedding".
    """

    def __init__(self, *, dim: int, positions: Mapping[str, Positions]) -> None:
        super().__init__()
        check_names(positions, "a kind of token")
        self.places = dict(positions)
        self.positions = nn.ModuleDict({name: each for name, each in positions.items() if isinstance(each, nn.Module)})
        self.kinds = nn.ParameterDict({name: torch.empty(1, 1, dim).normal_(std=0.02) for name in positions})

    def forward(self, tokens: Tokens) -> Float[Tensor, "B|1 N D"]:
        """Return one vector per token."""
        _check_kinds(self.places, tokens, "positions")
        found = [self.places[name](span_of(tokens, name)) + self.kinds[name] for name in tokens.spans]
        size = max(each.shape[0] for each in found)
        return torch.cat([each.expand(size, -1, -1) for each in found], dim=1)


@part
class Streams(nn.Module):
    """Encode each kind of token by its own encoder, then all kinds together by ``depth`` joint blocks.

    ``heads``, ``mlp_ratio``, ``norm_eps`` and ``keep`` are those of the joint blocks. The prefix tokens of all
    encoders come first. Raises ValueError for encoders of different widths, or a mask with more visible tokens of a
    kind in one sample than in another (``PerSpan`` makes them equal).

    Deviation from CAV-MAE: its joint blocks have norms of their own for each kind, and also pass each kind alone.
    """

    def __init__(
        self,
        *,
        encoders: Mapping[str, Encoder],
        depth: int,
        heads: int,
        mlp_ratio: float = 4.0,
        norm_eps: float = 1e-6,
        keep: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        check_names(encoders, "a kind of token")
        widths = {name: each.dim for name, each in encoders.items()}
        if len(set(widths.values())) != 1:
            raise ValueError(f"encoders of streams must have one width, got {widths}")
        self.dim = next(iter(widths.values()))
        self.streams = dict(encoders)
        self.encoders = nn.ModuleDict({name: each for name, each in encoders.items() if isinstance(each, nn.Module)})
        self.blocks = Blocks(dim=self.dim, depth=depth, heads=heads, mlp_ratio=mlp_ratio, norm_eps=norm_eps, keep=keep)
        self.norm = LayerNorm(self.dim, eps=norm_eps)

    def forward(self, tokens: Tokens, mask: Mask | None = None) -> Latent:
        """Encode the visible tokens [B V D], in the order of ``mask.visible``, or all tokens [B N D] without a mask."""
        _check_kinds(self.streams, tokens, "encoders")
        counts = [0] * len(tokens.spans) if mask is None else self._counts(tokens, mask)
        parts, start = list[Latent](), 0
        for (name, span), count in zip(tokens.spans.items(), counts, strict=True):
            own = None
            if mask is not None:
                seen = mask.visible[:, start : start + count] - span.start
                own = Mask(visible=seen, hidden=seen[:, :0])
            parts.append(self.streams[name](span_of(tokens, name), own))
            start += count
        prefix = torch.cat([each.prefix for each in parts], dim=1)
        latents = torch.cat([each.tokens for each in parts], dim=1)
        valid = tokens.valid if latents.shape[1] == tokens.shape[1] else None  # visible tokens are never padding
        every = None if valid is None else torch.cat([valid.new_ones(prefix.shape[:2]), valid], dim=1)
        levels: list[Tensor] = []
        x = self.norm(self.blocks(torch.cat([prefix, latents], dim=1), every, None, levels))
        count = prefix.shape[1]
        return Latent(tokens=x[:, count:], prefix=x[:, :count], valid=valid, levels=tuple(levels))

    def _counts(self, tokens: Tokens, mask: Mask) -> list[int]:
        """Return the number of visible tokens of each kind. It waits for the device, once per pass."""
        stops = torch.tensor([span.stop for span in tokens.spans.values()], device=mask.visible.device)
        kinds = torch.bucketize(mask.visible.contiguous(), stops, right=True).cpu()
        counts: list[int] = torch.bincount(kinds[0], minlength=len(stops)).tolist()
        if not torch.equal(kinds, kinds[0].sort().values.expand_as(kinds)):
            raise ValueError(
                "the visible tokens of all samples must have the same number of each kind, in the order of the kinds; "
                "mask with PerSpan"
            )
        return counts


@part
class InSpan(nn.Module):
    """Apply a target to the tokens of one kind: its tokens, its tensor of the batch, and its part of the mask.

    It is the target of a term on the set ``name`` of a mask of ``PerSpan``. A target that runs the model's encoder,
    such as ``Teacher``, needs the tokens of all kinds, and is used without ``InSpan``.
    """

    def __init__(self, *, name: str, target: Target) -> None:
        super().__init__()
        self.name, self.target = name, target

    def forward(self, tokens: Tokens, mask: Mask, batch: Batch, *, step: Step) -> Tensor:
        """Return the values [B K T] of the tokens in ``mask.hidden``."""
        own = batch[self.name] if isinstance(batch, Fields) else batch
        return call(self.target, span_of(tokens, self.name), self._inside(tokens, mask), own, step=step)

    def contents(self, value: Float[Tensor, "B K T"], tokens: Tokens, mask: Mask) -> Float[Tensor, "B K D"]:
        """Convert values back into contents, for figures. Raises ValueError if they are no contents."""
        if not isinstance(self.target, Painted):
            raise ValueError(f"{type(self.target).__name__} predicts no contents, so there is no reconstruction")
        found = self.target.contents(value, span_of(tokens, self.name), self._inside(tokens, mask))
        return F.pad(found, (0, tokens.x.shape[-1] - found.shape[-1]))

    def _inside(self, tokens: Tokens, mask: Mask) -> Mask:
        start, stop = tokens.spans[self.name].start, tokens.spans[self.name].stop
        asked = mask.hidden
        if not asked.is_cuda and asked.numel() and not start <= int(asked.min()) <= int(asked.max()) < stop:
            raise ValueError(f"the predicted tokens are not of kind {self.name!r}; predict on={self.name!r}")
        return Mask(visible=mask.visible[:, :0], hidden=mask.hidden - start, blocks=mask.blocks, weight=mask.weight)
