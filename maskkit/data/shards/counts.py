"""Numbers of samples per shard, from ``counts.json``."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from maskkit.data.shards.download import is_remote, read_remote
from maskkit.files import parse_json, short_reason

_Counts = dict[str, int | dict[str, int]]  # of one folder: by shard, then perhaps by suffix

COUNTS = "counts.json"  # beside shards: {"shard-000000.tar": {".jpg": 812}}, samples by suffix, or just a number

_HEADER = 512  # bytes of a member at least

_MOST = 10**7  # samples of a shard, unless it is larger than their headers, which take 5 GB


def read_counts(names: Sequence[str], endings: tuple[str, ...]) -> list[int]:
    """Return the number of samples in each shard from ``counts.json`` in its folder; -1 if it is unknown."""
    known = dict[str, _Counts]()
    counts = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in known:
            known[folder] = _counts_of(f"{folder}/{COUNTS}" if "/" in name else COUNTS)
        said = known[folder].get(base, -1)
        count = sum(said.get(ending, 0) for ending in endings) if isinstance(said, dict) else said
        if count > (room := _room(name)):  # an epoch's order would take memory for all of them
            raise ValueError(
                f"{folder or '.'}/{COUNTS}: {count} samples are too many for {base}, which has room for {room}; "
                "delete it, and samples are counted"
            )
        counts.append(count)
    return counts


def _room(name: str) -> int:
    """Return the largest number of samples that a shard may hold. One that was cut off held more than its size says."""
    here = not is_remote(name) and os.path.isfile(name)
    return max(_MOST, os.path.getsize(name) // _HEADER if here else 0)


def _counts_of(where: str) -> _Counts:
    try:
        contents = _contents(where)
    except (FileNotFoundError, PermissionError):  # S3 denies access to missing objects without permission to list
        return {}
    try:
        found = parse_json(contents)
    except ValueError:
        found = None
    entries = found.values() if isinstance(found, dict) else [None]
    flat = [each for entry in entries for each in (entry.values() if isinstance(entry, dict) else [entry])]
    if not all(isinstance(each, int) and each >= 0 for each in flat):
        raise ValueError(f'{where}: must be {{"shard.tar": {{".jpg": 812}}}}; delete it, and samples are counted')
    return cast(_Counts, found)


def _contents(where: str) -> bytes:
    if not is_remote(where):
        return Path(where).read_bytes()
    try:
        found = read_remote(where)
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # clients of object stores raise various errors
        raise ValueError(f"{where}: cannot be read ({short_reason(error)})") from error
    if found.lstrip().startswith(b"<"):
        raise FileNotFoundError(where)  # some servers answer with a web page for a file that they do not have
    return found
