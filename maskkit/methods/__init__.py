"""Methods that run on every modality, one per file, and the table of all methods of a modality.

A method is a frozen dataclass of settings with ``build(inputs) -> MaskedModel``. The docstrings of its fields are the
help texts of the command line. An installed package adds a method by an entry point in the group ``maskkit.methods``,
whose value is such a class.
"""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import entry_points
from typing import ClassVar, Protocol, cast

from maskkit.methods.simmim import SimMIM
from maskkit.modality import InputSpec, MethodSettings, Modality, find_modality
from maskkit.model import MaskedModel
from maskkit.optim import AdamW

GROUP = "maskkit.methods"  # of entry points


class Method(Protocol):
    """A method that runs on every modality."""

    name: ClassVar[str]

    def build(self, inputs: InputSpec) -> MaskedModel:
        """Return the model for some inputs, with newly initialised weights."""

    def optim(self, batch: int) -> AdamW:
        """Return the default optimiser of the method for a global batch of ``batch`` samples."""


OURS: tuple[type[Method], ...] = (SimMIM,)


def all_methods() -> dict[str, type[Method]]:
    """Return the methods that run on every modality by name: maskkit's and those of installed packages.

    Raises ValueError if a package registers a name that is taken.
    """
    found = {method.name: method for method in OURS}
    for entry in entry_points(group=GROUP):
        method: type[Method] = entry.load()
        if entry.name in found:
            raise ValueError(f"method {entry.name} of {entry.value} exists already; rename it in its package")
        if method.name != entry.name:  # a run records the class's name, and is resumed by it
            raise ValueError(
                f"{entry.value} is registered as method {entry.name} but is named {method.name}; use one name"
            )
        found[entry.name] = method
    return found


def methods_of(modality: Modality) -> Mapping[str, type[MethodSettings]]:
    """Return the settings classes of a modality's methods by name: its published presets first, then all others."""
    return {**modality.presets, **{name: on(method, modality) for name, method in all_methods().items()}}


@dataclass(frozen=True)
class Methods(Mapping[str, type[MethodSettings]]):
    """The methods of a modality by name, looked up on access, since installed packages can add some."""

    modality: Modality

    def __getitem__(self, name: str) -> type[MethodSettings]:
        return methods_of(self.modality)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(methods_of(self.modality))

    def __len__(self) -> int:
        return len(methods_of(self.modality))

    def model(self, name: str, size: str | None = None, **settings: object) -> MaskedModel:
        """Build a model by the names of its method and size. Raises ValueError for unknown names and settings."""
        return build_model(self.modality, name, size, **settings)


@functools.cache
def on(method: type[Method], modality: Modality) -> type[MethodSettings]:
    """Return one settings class with the fields of a method and those of a modality's inputs."""
    inputs = modality.input_settings

    def build(self: object) -> MaskedModel:
        return method.build(cast(Method, self), inputs.spec(self))  # type: ignore[arg-type]  # it has the fields of both

    def check(self: object) -> None:  # one class in front must not hide the checks of the other
        for each in (inputs, method):
            validate = getattr(each, "__post_init__", None)
            if validate is not None:
                validate(self)

    def reduce(self: object) -> tuple[object, tuple[object, ...]]:  # the class is found again in another process
        return _restored, (method, modality.name, vars(self))

    kind = type(
        method.__name__,
        (method, inputs),
        {
            "build": build,
            "__post_init__": check,
            "__reduce__": reduce,
            "__doc__": method.__doc__,
            "__module__": method.__module__,
        },
    )
    return cast(type[MethodSettings], dataclass(frozen=True, kw_only=True)(kind))


def _restored(method: type[Method], modality: str, values: dict[str, object]) -> MethodSettings:
    return on(method, find_modality(modality))(**values)


def find_method(modality: Modality, name: str) -> type[MethodSettings]:
    """Return the settings class of a method on a modality. Raises ValueError for an unknown name."""
    known = methods_of(modality)
    if name not in known:
        raise ValueError(f"{modality.name} has no method {name!r}; it has {', '.join(known)}")
    return known[name]


def build_model(modality: Modality, name: str, size: str | None = None, **settings: object) -> MaskedModel:
    """Build a model by the names of its method and size. Raises ValueError for names and settings that do not exist."""
    kind = find_method(modality, name)
    chosen = settings if size is None else {"size": size, **settings}
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]  # settings are dataclasses
    unknown = sorted(chosen.keys() - set(known))
    if unknown:
        raise ValueError(
            f"method {name} on {modality.name} has no setting {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return kind(**chosen).build()
