"""Type hints of settings and parts: whether a plain value fits one, and what a hint expects in words."""

import json
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path

_LONGEST_VALUE = 60  # characters of a value in a message
_PLAIN = (bool, int, float, str, list, tuple, Mapping, types.NoneType)


class HintError(ValueError):
    """A value that does not fit its type hint. The message names its key."""


def check_value(value: object, hint: object, key: str) -> None:
    """Raise HintError if a value of the setting ``key`` does not fit its hint.

    >>> check_value("many", int | None, "settings.batch")
    Traceback (most recent call last):
    maskkit.hints.HintError: settings.batch must be a whole number or null, got "many"
    """
    if not fits(value, hint):
        raise HintError(f"{key} must be {expected(hint)}, got {shown(value)}")


def fits(value: object, hint: object) -> bool:
    """Return whether a value fits a type hint. Every value fits a hint that is not known, such as a type variable.

    Sequences may be lists or tuples. A whole number fits ``float``; true and false are no numbers. NaN and infinity
    fit nothing, because JSON has neither, nor do whole numbers of more than 64 bits.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return fits(value, inner[0])
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, each) for each in inner)
    if origin is typing.Literal:
        return any(value == each and type(value) is type(each) for each in inner)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(each, inner[1]) for each in value.values())
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return isinstance(value, list | tuple) and _items_fit(value, inner)
    return fits_class(value, hint) if isinstance(hint, type) else True


def _items_fit(values: list[object] | tuple[object, ...], hints: tuple[object, ...]) -> bool:
    if len(hints) == 1 or hints[-1] is Ellipsis:
        return all(fits(value, hints[0]) for value in values)
    return len(values) == len(hints) and all(map(fits, values, hints))


def fits_class(value: object, kind: type) -> bool:
    """Return whether a value fits a class. A protocol without data is fitted by every part that has its methods."""
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    if getattr(kind, "_is_protocol", False):
        methods = [name for name, each in vars(kind).items() if callable(each) and not name.startswith("_")]
        return not isinstance(value, _PLAIN) and all(hasattr(value, name) for name in methods)
    return isinstance(value, kind) or (isinstance(value, str) and issubclass(kind, str))  # the latter is an enumeration


def expected(hint: object) -> str:
    """Return what a type hint expects, in words.

    >>> expected(int | tuple[int, int] | None)
    'a whole number, a list of 2 or null'
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return expected(inner[0])
    if origin in (typing.Union, types.UnionType):
        *most, last = [expected(each) for each in inner]
        return f"{', '.join(most)} or {last}"
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, inner))}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return "an object"
    if isinstance(origin, type) and issubclass(origin, Iterable):
        return "a list" if len(inner) == 1 or inner[-1] is Ellipsis else f"a list of {len(inner)}"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a text"}
    words |= {types.NoneType: "null"}
    return words.get(typing.cast(type, hint)) or f"a part of the kind {getattr(hint, '__name__', hint)}"


def shown(value: object) -> str:
    """Return a value as JSON for a message, at most about 60 characters.

    >>> shown([1, None, "a"])
    '[1, null, "a"]'
    """
    text = json.dumps(value, default=lambda part: f"a {type(part).__name__}", ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else text[:_LONGEST_VALUE] + " ..."
