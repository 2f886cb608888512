"""Parts record their arguments, so that a model can be described as plain JSON and built again.

``@part`` records the arguments of a class. ``describe`` turns a part into plain JSON, and ``build`` turns that back
into a part. A file names parts and never code to run. ``build`` finds classes that are already imported, maskkit's own,
and those of installed packages that register them by entry point.
"""

import dataclasses
import functools
import importlib
import inspect
import pkgutil
import typing
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import TypeVar, cast

from maskkit.files import short_reason
from maskkit.hints import HintError, check_value

C = TypeVar("C", bound=type)
T = TypeVar("T")
Plain = None | bool | int | float | str | list["Plain"] | dict[str, "Plain"]

GROUPS = ("modalities", "methods", "maskers", "targets", "parts")  # entry points maskkit.GROUP that announce parts
NO_PARTS = ("cli", "doctor", "testing", "bench", "commands")  # modules of maskkit that hold none

# Earlier names of parts and their arguments, in files that earlier versions wrote.
RENAMED_PARTS = {"Ball": "BlockMasker"}
RENAMED_ARGUMENTS = {"positions_again": "pos_every_block"}

_PARTS: dict[str, type] = {}


def part(cls: C) -> C:
    """Register a class under its name, and record the arguments of its instances.

    Arguments may be numbers, strings, booleans, None, sequences and dicts of these, and other parts. The name of a
    class outside maskkit includes its module. Raises ValueError for a name that is taken.
    """
    name = name_of(cls)
    known = _PARTS.get(name)
    if known is not None and known.__module__ != cls.__module__:
        raise ValueError(f"a part named {name} exists already in {known.__module__}; rename one of the two")
    _PARTS[name] = cls
    if not dataclasses.is_dataclass(cls):
        setattr(cls, "__init__", _recording(getattr(cls, "__init__")))  # noqa: B009, B010  # mypy forbids it dotted
    return cls


def name_of(cls: type) -> str:
    """Return the name of a class in descriptions: ``SinCos``, or ``package.module:Name`` outside maskkit."""
    ours = cls.__module__.split(".")[0] == "maskkit"
    return cls.__name__ if ours else f"{cls.__module__}:{cls.__qualname__}"


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``__init__`` to store its arguments, including defaults, in ``_arguments``."""
    signature = inspect.signature(init)
    kinds = {name: parameter.kind for name, parameter in signature.parameters.items()}

    @functools.wraps(init)
    def wrapped(self: object, *args: object, **kwargs: object) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()  # defaults are stored too, so that a later change of a default does not change old files
        arguments: dict[str, object] = {}
        for name, value in list(bound.arguments.items())[1:]:
            if kinds[name] is inspect.Parameter.VAR_KEYWORD:
                arguments |= value
            elif kinds[name] is not inspect.Parameter.VAR_POSITIONAL:
                arguments[name] = value
            elif value:
                raise TypeError(f"{type(self).__name__} is a part, so it takes its arguments by name, got {value}")
        init(self, *args, **kwargs)
        object.__setattr__(self, "_arguments", arguments)

    return wrapped


def inner_parts(owner: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the arguments of a part that are no plain values, and theirs, each with its path, such as ``masker_score``.

    A plain value is a number, a string, a boolean or None.
    """
    if isinstance(owner, Mapping):
        held: Mapping[str, object] = owner
    elif isinstance(owner, list | tuple):
        held = {str(number): item for number, item in enumerate(owner)}
    elif dataclasses.is_dataclass(owner) and not isinstance(owner, type):
        held = {each.name: getattr(owner, each.name, None) for each in dataclasses.fields(owner)}
    else:
        held = getattr(owner, "_arguments", {})
    for name, value in held.items():
        if value is None or isinstance(value, bool | int | float | str):
            continue
        where = f"{path}_{name}" if path else name
        if not isinstance(value, Mapping | list | tuple):
            yield where, value
        yield from inner_parts(value, where)


def describe(value: object) -> Plain:
    """Return the description of a part as plain JSON, including the parts that it contains.

    Raises TypeError for a value that cannot be described.
    """
    if type(value) in _PARTS.values():
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        arguments = {f.name: getattr(value, f.name) for f in fields if f.init} or getattr(value, "_arguments", {})
        return {"part": name_of(type(value)), **{key: describe(item) for key, item in arguments.items()}}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written into a configuration; mark its class with @part")


def build(description: object, key: str = "") -> object:
    """Build a part from its description.

    ``key`` is the place of the description in its file, such as "model_parts", for messages. Raises ValueError for a
    part that is unknown or does not fit, with the key of what is wrong.
    """
    if isinstance(description, Mapping):
        inner = {str(name): build(item, f"{key}.{name}" if key else str(name)) for name, item in description.items()}
        items = {RENAMED_ARGUMENTS.get(name, name): item for name, item in inner.items()}
        if "part" not in items:
            return items
        check_value(name := items.pop("part"), str, f"{key}.part" if key else "part")
        return _build_part(str(name), items, key)
    if isinstance(description, list | tuple):
        return tuple(build(item, f"{key}[{number}]") for number, item in enumerate(description))
    return description


def _build_part(name: str, arguments: dict[str, object], key: str) -> object:
    """Build a part from its name and its arguments, whose types are checked first."""
    where = f"{key}: " if key else ""
    try:
        kind = find(RENAMED_PARTS.get(name, name))
        _check_arguments(kind, arguments, key)
        return kind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{where}the configuration of part {name} does not fit this version of maskkit: {error}"
        ) from error
    except HintError:
        raise
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    except Exception as error:  # what a class raises for numbers that fit no model, such as a negative size
        raise ValueError(f"{where}part {name} cannot be built: {short_reason(error)}") from error


def _check_arguments(kind: type, arguments: Mapping[str, object], key: str) -> None:
    """Raise HintError for an argument whose value does not fit its type hint, unless it is the default."""
    signature = inspect.signature(kind)
    try:
        hints = typing.get_type_hints(kind if dataclasses.is_dataclass(kind) else getattr(kind, "__init__"))  # noqa: B009
    except NameError:  # names that exist for type checkers only
        return
    for name, value in arguments.items():
        parameter = signature.parameters.get(name)
        if parameter is not None and name in hints and value != parameter.default:
            check_value(value, hints[name], f"{key}.{name}" if key else name)


def build_as(kind: type[T], description: object, key: str = "") -> T:
    """Build a part of the class ``kind``. Raises ValueError if the description is that of another class."""
    built = build(description, key)
    if not isinstance(built, kind):
        where = f"{key}: " if key else ""
        raise ValueError(f"{where}the configuration describes a {type(built).__name__}, not a {kind.__name__}")
    return built


def find(name: str) -> type:
    """Return the class of a part by its name. Raises ValueError for an unknown part."""
    if name not in _PARTS:
        _import_parts()
    if name not in _PARTS:
        module = name.partition(":")[0] if ":" in name else ""
        mend = f"import {module} first (--import {module})" if module else "import the module that defines it"
        raise ValueError(f"the configuration names a part {name!r} that is not loaded; {mend}")
    return _PARTS[name]


@functools.cache
def _import_parts() -> None:
    """Import the modules of maskkit's own parts, and those that installed packages register by entry point."""
    package = importlib.import_module("maskkit")
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in NO_PARTS:
            importlib.import_module(f"maskkit.{module.name}")
    for group in GROUPS:
        for entry in entry_points(group=f"maskkit.{group}"):
            entry.load()


def replace_part(owner: object, **parts: object) -> None:
    """Replace parts of a built part, in its attributes and in its description."""
    for name, value in parts.items():
        setattr(owner, name, value)
        cast(dict[str, object], getattr(owner, "_arguments"))[name] = value  # noqa: B009  # set by _recording
