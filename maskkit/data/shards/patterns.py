"""Patterns of shards: braces, globs, addresses."""

import glob
import re
from collections.abc import Iterator

from maskkit.data.shards.download import file_system, is_remote
from maskkit.files import short_reason

_MOST_NAMES = 1_000_000


def names_shards(pattern: str) -> bool:
    """Return whether a text names tar shards: an address, or a pattern that ends in ``.tar``."""
    return is_remote(pattern) or (
        pattern.lower().endswith(".tar") and (glob.has_magic(pattern) or _braced(pattern) is not None)
    )


def expand_shards(pattern: str) -> list[str]:
    """Return the shards of a pattern: braces (``{000..099}``, ``{a,b}``) in order, wildcards sorted. Raises ValueError.

    >>> expand_shards("data/{train,test}-{08..10}.tar")[:4]
    ['data/train-08.tar', 'data/train-09.tar', 'data/train-10.tar', 'data/test-08.tar']
    """
    names = list[str]()
    for name in _without_braces(pattern):
        if not is_remote(name):
            names += sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]
        elif name.lower().endswith(".tar") and not glob.has_magic(name):
            names.append(name)
        else:
            names += _remote_names(name)
    if not names:
        raise ValueError(f"{pattern}: no shard matches; correct the path")
    odd = next((name for name in names if not name.lower().endswith(".tar")), None)
    if odd is not None:
        raise ValueError(f"{pattern}: {odd} is no .tar shard; compressed ones must be unpacked first")
    return names


def _remote_names(address: str) -> list[str]:
    pattern = address if glob.has_magic(address) else f"{address.rstrip('/')}/*.tar"
    try:
        system, path = file_system(pattern)
    except ValueError as error:
        raise ValueError(f"{error}; or name the shards as a range, such as shard-{{000..099}}.tar") from None
    try:
        return sorted(system.unstrip_protocol(found) for found in system.glob(path))
    except Exception as error:  # clients of object stores raise various errors
        raise ValueError(f"{address}: cannot be listed ({short_reason(error)})") from error


def _braced(pattern: str) -> re.Match[str] | None:
    return re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", pattern)


def _without_braces(pattern: str) -> Iterator[str]:
    found = _braced(pattern)
    if found is None:
        yield pattern
        return
    first, last, words = found.groups()
    if words is None:
        if abs(int(last) - int(first)) >= _MOST_NAMES:
            raise ValueError(f"{pattern}: names more than {_MOST_NAMES:,} shards; correct the range")
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        step = 1 if int(first) <= int(last) else -1
        options = [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]
    else:
        options = words.split(",")
    for option in options:
        yield from _without_braces(pattern[: found.start()] + option + pattern[found.end() :])
