"""Parts know how they were made, so that a configuration can be written down and built again.

``@part`` records the arguments a class was called with. ``describe`` turns a built part into plain JSON, and ``build``
turns that back into the part. Only classes marked ``@part`` that are already imported can be built: a file names a
part, it never names code to run.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_PARTS: dict[str, type] = {}
_COLLECTIVE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)  # of nn.Module where a part has no own


def part(cls: T) -> T:
    """Register a class under its name and let its instances remember their arguments.

    Arguments may be numbers, strings, booleans, None, sequences and dicts of these, and other parts.
    """
    name = cls.__name__
    known = _PARTS.get(name)
    if known is not None and known.__module__ != cls.__module__:
        raise ValueError(f"a part named {name} exists already in {known.__module__}; rename one of the two")
    _PARTS[name] = cls
    if not dataclasses.is_dataclass(cls):
        setattr(cls, "__init__", _recording(getattr(cls, "__init__")))  # noqa: B009, B010  # mypy forbids it dotted
    return cls


def _recording(init: Callable[..., None]) -> Callable[..., None]:
    """Wrap ``__init__`` so that it keeps its arguments, defaults included, under ``_arguments``."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()  # a default that changes later must not change a file written today
        named = list(bound.arguments.items())[1:]
        arguments = {name: value for name, value in named if signature.parameters[name].kind not in _COLLECTIVE}
        init(self, *args, **kwargs)
        object.__setattr__(self, "_arguments", arguments)

    return wrapped


def describe(value: Any) -> Any:
    """Return the plain-JSON description of a part, with the parts it was made from inside."""
    if type(value) in _PARTS.values():
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        arguments = {f.name: getattr(value, f.name) for f in fields if f.init} or getattr(value, "_arguments", {})
        return {"part": type(value).__name__, **{key: describe(item) for key, item in arguments.items()}}
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be written into a configuration; mark its class with @part")


def build(description: Any) -> Any:
    """Build what ``describe`` described. Raises ValueError for a part that no imported module defines."""
    if isinstance(description, Mapping):
        items = {key: build(item) for key, item in description.items()}
        name = items.pop("part", None)
        if name is None:
            return items
        if name not in _PARTS:
            raise ValueError(f"the configuration names a part {name!r} that is not loaded; import the module with it")
        try:
            return _PARTS[name](**items)
        except TypeError as error:
            raise ValueError(
                f"the configuration of part {name} does not fit this version of maskkit: {error}"
            ) from error
    if isinstance(description, list):
        return tuple(build(item) for item in description)
    return description


def exchange(owner: Any, **parts: Any) -> None:
    """Replace parts inside a built part, in its attributes and in its description."""
    for name, value in parts.items():
        setattr(owner, name, value)
        owner._arguments[name] = value
