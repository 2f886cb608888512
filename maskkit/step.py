"""``Step``: the state of a forward pass, which maskers, decoders, targets, losses and terms can read.

Shapes: B samples, N tokens, K predicted tokens, T width of a target.
"""

import inspect
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from maskkit.batches import Batch
from maskkit.types import Latent, Mask, Tokens

if TYPE_CHECKING:
    from maskkit.model import MaskedModel

T = TypeVar("T")


RESERVED = frozenset(  # names of the engine's own numbers in a row of metrics.jsonl
    ("step", "epoch", "samples", "loss", "lr", "grad_norm", "skipped", "not_finite", "rewinds", "checkpoint_seconds")
)


class World(Protocol):
    """The processes of a run. ``rank`` is the number of this process, ``size`` the number of processes."""

    @property
    def rank(self) -> int:
        """The number of this process, from 0."""

    @property
    def size(self) -> int:
        """The number of processes."""

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor of any shape over all processes, which must all call it. It passes no gradient."""


@dataclass(frozen=True)
class OneProcess:
    """The ``World`` of a run of one process."""

    rank: int = 0
    size: int = 1

    def sum(self, tensor: Tensor) -> Tensor:
        """Return the tensor itself, of any shape, detached."""
        return tensor.detach()


@dataclass(frozen=True)
class Result:
    """The result of a term: its losses, and the predictions and values that they compare.

    ``losses`` are float32, one number per predicted token, or a single number. ``mask.hidden`` holds the indices of
    these tokens.
    """

    losses: Float[Tensor, "B K"] | Float[Tensor, ""]
    prediction: Float[Tensor, "B K T"] | None = None
    value: Tensor | None = None
    mask: Mask | None = None

    def mean(self) -> Float[Tensor, ""]:
        """Return the mean of the losses, weighted by ``mask.weight`` if the mask has weights."""
        if self.mask is None or self.mask.weight is None or self.losses.ndim == 0:
            return self.losses.mean()
        weight = self.mask.weight
        return (self.losses * weight).sum() / weight.sum()


@dataclass
class Step:
    """The state of one forward pass under one mask.

    ``results`` holds the results of the terms that were computed before, by name. ``progress`` is the completed share
    of the run, in [0, 1]. A masker runs before there is a mask, so reading ``mask`` or ``latent`` raises ValueError
    there.
    """

    model: "MaskedModel"
    batch: Batch
    tokens: Tokens
    rng: torch.Generator | None = None
    progress: float = 0.0
    world: World = field(default_factory=OneProcess)
    results: dict[str, Result] = field(default_factory=dict)
    metrics: dict[str, list[Tensor]] = field(default_factory=dict)
    _mask: Mask | None = None
    _latent: Latent | None = None
    _shared: dict[Hashable, object] = field(default_factory=dict)
    _precision: torch.dtype | None = None

    def __post_init__(self) -> None:
        """Store the precision of the pass."""
        if self._precision is None and torch.is_autocast_enabled(self.device.type):
            self._precision = torch.get_autocast_dtype(self.device.type)

    @property
    def device(self) -> torch.device:
        """The device of the tokens."""
        return self.tokens.x.device

    @property
    def mask(self) -> Mask:
        """The mask of this pass."""
        if self._mask is None:
            raise ValueError("there is no mask yet; a masker cannot read step.mask")
        return self._mask

    @property
    def latent(self) -> Latent:
        """The output of the encoder under this mask."""
        if self._latent is None:
            raise ValueError("there is no latent yet; a masker cannot read step.latent")
        return self._latent

    def under(self, mask: Mask, latent: Latent) -> "Step":
        """Return the pass under one of several masks. It shares the values of ``once`` and ``log``."""
        return Step(
            model=self.model,
            batch=self.batch,
            tokens=self.tokens,
            rng=self.rng,
            progress=self.progress,
            world=self.world,
            metrics=self.metrics,
            _mask=mask,
            _latent=latent,
            _shared=self._shared,
            _precision=self._precision,
        )

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return ``make()``, computed once per forward pass for each ``key`` and shared by all masks and parts."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])

    def log(self, name: str, value: Tensor | float) -> None:
        """Record a number in addition to the loss. The engine logs its mean under this name.

        Raises ValueError for a name that the engine's own numbers have.
        """
        if name in RESERVED or name.startswith("loss/"):
            raise ValueError(f"{name!r} is the name of a number that the engine logs; choose another")
        noted = torch.as_tensor(value, dtype=torch.float32, device=self.device).detach()
        self.metrics.setdefault(name, []).append(noted)

    def autocast(self) -> AbstractContextManager[None]:
        """Return a context with the precision of the run, for teachers. Targets are called in float32."""
        kind, dtype = self.device.type, self._precision
        return torch.autocast(kind, dtype, enabled=dtype is not None)

    def float32(self) -> AbstractContextManager[None]:
        """Return a context without autocast."""
        return torch.autocast(self.device.type, enabled=False)


def call(owner: Callable[..., T], *inputs: object, step: Step | None) -> T:
    """Call a part with its arguments, and with ``step`` if its signature declares it."""
    return owner(*inputs, step=step) if takes_step(type(owner)) else owner(*inputs)


_TAKES_STEP: dict[type, bool] = {}  # signatures are looked up once per class


def takes_step(kind: type) -> bool:
    """Return whether the signature of a class declares ``*, step``."""
    if kind not in _TAKES_STEP:
        function = kind.forward if issubclass(kind, nn.Module) else kind.__call__
        _TAKES_STEP[kind] = "step" in inspect.signature(function).parameters
    return _TAKES_STEP[kind]
