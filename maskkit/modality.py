"""``Modality``: one kind of data as one object, ``MODALITY = Modality(...)``, which is found by entry point.

A package registers a modality in the entry point group ``maskkit.modalities``, as ``name = "package:MODALITY"`` or as
``name = "package"``, a package with the attribute ``MODALITY``. The core uses a modality through this object only.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:  # `maskkit --help` lists modalities without importing torch
    from torch import nn

    from maskkit.batches import Batch
    from maskkit.data.source import Source
    from maskkit.losses import Loss
    from maskkit.maskers import Masker
    from maskkit.model import MaskedModel
    from maskkit.optim import AdamW
    from maskkit.targets import Target
    from maskkit.tokenizers import Tokenizer
    from maskkit.types import Output

GROUP = "maskkit.modalities"  # of entry points

Say = Callable[[str], None]
Row = tuple[str, bool, str, str]  # a line of `maskkit doctor`: subject, whether it works, text, how to fix it


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """The properties of a kind of data that methods need. A modality's ``inputs()`` returns one.

    ``positions`` and ``embed`` take the width D of an encoder or decoder. T is the width of the target.
    """

    tokenizer: "Tokenizer"
    positions: "Callable[[int], nn.Module]"
    """Returns positions of width D: a module (tokens) -> [B|1 N D]."""
    embed: "Callable[[int], nn.Module]"
    """Returns the embedding of contents with width D: a module [B N content] -> [B N D]."""
    masker: "Callable[[float], Masker]"
    """Returns the default masker of this kind of data for a share of hidden tokens in (0, 1)."""
    target: "Callable[[], Target]"
    """Returns the target that predicts plain contents."""
    output: int
    """Width T of that target."""
    loss: "Loss | None" = None
    """Loss for this target. None if its values can be compared elementwise."""
    prefix_tokens: int = 1
    """Number of class and register tokens of the encoder."""
    grid: tuple[int, ...] | None = None
    """Number of tokens along each axis of the nominal input, if they fill a grid."""


class InputSettings(Protocol):
    """Settings of a modality's inputs: sizes, channels and statistics."""

    def spec(self) -> InputSpec:
        """Return the ``InputSpec``. Settings that are None have their published defaults."""


class MethodSettings(Protocol):
    """Settings of a method on one kind of data: a dataclass with the fields of the method and those of its inputs."""

    name: ClassVar[str]

    def build(self) -> "MaskedModel":
        """Return the model with newly initialised weights."""

    def optim(self, batch: int) -> "AdamW":
        """Return the default optimiser of the method for a global batch of ``batch`` samples."""


class DataSettings(Protocol):
    """Settings of a data set."""

    @property
    def root(self) -> str:
        """The path of the data."""

    def at(self, root: str) -> "DataSettings":
        """Return a copy of the settings for another path, so that evaluation reads data as training did."""

    def open(self, tokenizer: "Tokenizer", *, train: bool) -> "Source":
        """Return a source of samples for a tokenizer, with training or evaluation transforms. Raises ValueError."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Settings that were chosen to fit a data set and this machine."""

    model: "MethodSettings"
    data: DataSettings
    samples: int
    """Number of samples in the data set."""
    batch: int
    """Batch size that fits the model and the machine."""
    summary: str
    """Short description of the model."""


class Command(Protocol):
    """Settings of a command, a dataclass whose fields are its flags."""

    def run(self) -> None:
        """Run the command."""


class Open(Protocol):
    """Opens data with the modality's default settings."""

    def __call__(self, where: str | Path, tokenizer: "Tokenizer") -> "Source":
        """Return a source of samples for a tokenizer, with evaluation transforms."""


class Draw(Protocol):
    """Draws the reconstructions of a forward pass."""

    def __call__(self, batch: "Batch", output: "Output", model: "MaskedModel", path: Path) -> None:
        """Write a PNG of input, visible part and reconstruction; other files may be written beside it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Modality:
    """A kind of data, as the engine, the command line, the benchmarks and ``maskkit doctor`` use it."""

    name: str
    """Name on the command line, in lower case."""
    sample: "Callable[[int], Batch]"
    """``sample(count)`` returns a batch of built-in samples ``[count ...]`` without reading user data."""
    tiny: "Callable[[], MaskedModel]"
    """Returns a new model for the sample, small enough to train in a test."""
    suffixes: tuple[str, ...]
    """File name endings in lower case, such as ".png"."""
    data: type[DataSettings]
    """Class of the data settings in a run's ``config.json``."""
    open: Open
    draw: Draw
    inputs: Callable[..., InputSpec]
    """``inputs(**settings)`` returns the ``InputSpec`` of this kind of data."""
    input_settings: type[InputSettings]
    """Settings class of ``inputs``. On the command line its fields are added to those of a method."""
    presets: Mapping[str, type[MethodSettings]]
    """Settings classes of the published methods by name, the default method first. They include the fields of
    inputs."""
    fit: Callable[[MethodSettings, DataSettings, Say], Fit]
    """Replaces the values of None in the settings of a model and its data, and reports the choices."""
    migrate: Callable[[dict[str, object]], tuple[str, dict[str, object]]] | None = None
    """Returns the method and the settings of a run by an earlier version, whose ``config.json`` names no method."""
    findings: Callable[[], Iterable[Row]] | None = None
    """Yields rows for ``maskkit doctor``."""
    transcode: type[Command] | None = None
    """Settings class of ``maskkit transcode NAME``."""
    bench: str | None = None
    """Name of the module with the ``WORKLOAD`` of ``maskkit bench``. Only benchmarks import it."""

    def __post_init__(self) -> None:
        """Validate the name and the suffixes. Raises ValueError."""
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"the name of a modality must be a word in lower case, got {self.name!r}")
        wrong = [suffix for suffix in self.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
        if wrong:
            raise ValueError(f"suffixes of modality {self.name} must begin with a dot, in lower case, got {wrong}")


def modality_names() -> list[str]:
    """Return the names of all registered modalities in alphabetical order, without importing them."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=GROUP)})


def find_modality(name: str) -> Modality:
    """Import and return a registered modality.

    Raises ValueError if no package or more than one registers the name, or if the registered object is no ``Modality``.
    """
    entries = {entry.value: entry for entry in importlib.metadata.entry_points(group=GROUP, name=name)}
    if not entries:
        raise ValueError(f"there is no modality {name!r}; installed are {', '.join(modality_names()) or 'none'}")
    if len(entries) > 1:
        raise ValueError(
            f"modality {name} is registered twice, as {' and as '.join(entries)}; uninstall one of the two"
        )
    ((value, entry),) = entries.items()
    found = as_modality(entry.load())
    if found.name != name:
        raise ValueError(f"{value} is registered as modality {name} but is named {found.name}; use one name")
    return found


def as_modality(value: object) -> Modality:
    """Return a modality itself, or the ``MODALITY`` of a module. Raises ValueError for anything else."""
    found = getattr(value, "MODALITY", None) if isinstance(value, ModuleType) else value
    if isinstance(found, Modality):
        return found
    name = value.__name__ if isinstance(value, ModuleType) else repr(value)
    raise ValueError(f"{name} is no modality; give a maskkit.modality.Modality, or a module whose MODALITY is one")
