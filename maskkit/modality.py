"""One kind of data as one object: ``MODALITY = Modality(...)``, found by entry point.

A package registers a modality in the entry point group ``maskkit.modalities``, as ``name = "package:MODALITY"`` or as
``name = "package"``, whose attribute ``MODALITY`` then counts. The core reaches a modality through this object alone.
"""

import importlib.metadata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:  # `maskkit --help` lists modalities and does without torch
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
Row = tuple[str, bool, str, str]  # a line of `maskkit doctor`: subject, whether it works, text, how to mend it


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What a method needs to know of a kind of data. A modality's ``inputs()`` makes one.

    Widths are those of the encoder or decoder that asks, T is the width of a target.
    """

    tokenizer: "Tokenizer"
    positions: "Callable[[int], nn.Module]"
    """Returns positions of a width."""
    embed: "Callable[[int], nn.Module]"
    """Returns what turns contents of tokens into vectors of a width."""
    masker: "Callable[[float], Masker]"
    """Returns the usual masker of this kind of data, for a share of hidden tokens."""
    target: "Callable[[], Target]"
    """Returns the target that predicts contents as they are."""
    output: int
    """Numbers of that target for a token: T."""
    loss: "Loss | None" = None
    """The loss that fits this target; None where numbers can be compared one by one."""
    prefix_tokens: int = 1
    """Class and register tokens of an encoder."""
    grid: tuple[int, ...] | None = None
    """Tokens along each axis of the nominal input, where they fill a grid."""


class InputSettings(Protocol):
    """Settings of a modality's inputs: sizes, channels and statistics."""

    def spec(self) -> InputSpec:
        """Return what a method needs to know. What is None has its published default."""


class MethodSettings(Protocol):
    """Settings of a method on one kind of data: a dataclass that holds the method's fields and those of its inputs."""

    name: ClassVar[str]

    def build(self) -> "MaskedModel":
        """Return the model with newly initialised weights."""

    def optim(self, batch: int) -> "AdamW":
        """Return the optimiser that suits the method, for so many samples a step."""


class DataSettings(Protocol):
    """Settings that open a data set."""

    @property
    def root(self) -> str:
        """Where the data lies."""

    def at(self, root: str) -> "DataSettings":
        """Return the same settings for other files, so that a trained model is measured as it was trained."""

    def open(self, tokenizer: "Tokenizer", *, train: bool) -> "Source":
        """Return a source of samples that fit a tokenizer, with training or evaluation transforms."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Settings that fit a data set and this machine, and the facts that they follow from."""

    model: "MethodSettings"
    data: DataSettings
    samples: int
    """Samples of the data set."""
    batch: int
    """Samples per step that suit the model and the machine."""
    summary: str
    """The model in a few words."""


class Open(Protocol):
    """Opens files with the modality's usual settings."""

    def __call__(self, where: str | Path, tokenizer: "Tokenizer") -> "Source":
        """Return a source of samples that fit a tokenizer, with evaluation transforms."""


class Draw(Protocol):
    """Draws a forward pass."""

    def __call__(self, batch: "Batch", output: "Output", model: "MaskedModel", path: Path) -> None:
        """Write a PNG of input, visible part and reconstruction; other files may go beside it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Modality:
    """All that the engine, the command line, the benchmarks and ``maskkit doctor`` need of a kind of data."""

    name: str
    """The word on the command line, in lower case."""
    sample: "Callable[[int], Batch]"
    """``sample(count)`` returns a batch of built-in samples ``[count ...]`` that needs no files."""
    tiny: "Callable[[], MaskedModel]"
    """Returns a new model of the sample, small enough to train in a test."""
    suffixes: tuple[str, ...]
    """File name endings in lower case, such as ".png"."""
    data: type[DataSettings]
    """Class of the data settings in a run's ``config.json``."""
    open: Open
    draw: Draw
    inputs: Callable[..., InputSpec]
    """``inputs(**settings)`` returns what a method needs to know of this kind of data."""
    input_settings: type[InputSettings]
    """Settings class of ``inputs``; its fields join those of a method on the command line."""
    presets: Mapping[str, type[MethodSettings]]
    """Published methods of this kind of data by name, the default one first. Their settings hold those of inputs."""
    fit: Callable[[MethodSettings, DataSettings, Say], Fit]
    """Replaces what is None in the settings of a model and of its data, and says what it found."""
    migrate: Callable[[dict[str, object]], tuple[str, dict[str, object]]] | None = None
    """Returns the method and the settings of a run whose ``config.json``, of an earlier version, names no method."""
    findings: Callable[[], Iterable[Row]] | None = None
    """Yields rows for ``maskkit doctor``."""
    transcode: Callable[[list[str]], int] | None = None
    """Runs ``maskkit transcode NAME`` with the words after it; returns the exit code."""
    bench: str | None = None
    """Name of the module whose ``WORKLOAD`` ``maskkit bench`` times. It is imported by benchmarks alone."""

    def __post_init__(self) -> None:
        """Check what the command line relies on."""
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"the name of a modality must be a word in lower case, got {self.name!r}")
        wrong = [suffix for suffix in self.suffixes if not suffix.startswith(".") or suffix != suffix.lower()]
        if wrong:
            raise ValueError(f"suffixes of modality {self.name} must begin with a dot, in lower case, got {wrong}")


def modality_names() -> list[str]:
    """Return the names of all registered modalities, in alphabetical order. Imports none of them."""
    return sorted({entry.name for entry in importlib.metadata.entry_points(group=GROUP)})


def find_modality(name: str) -> Modality:
    """Import and return a registered modality.

    Raises ValueError if no package, or more than one, registers the name, or what is registered is no ``Modality``.
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
