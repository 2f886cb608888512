"""Numbers of samples per shard, from ``counts.json``."""

import json
from collections.abc import Sequence
from pathlib import Path

from maskkit.data.shards.download import is_remote, read_remote
from maskkit.files import short_reason

_Counts = dict[str, int | dict[str, int]]  # of one folder: by shard, then perhaps by suffix

COUNTS = "counts.json"  # beside shards: {"shard-000000.tar": {".jpg": 812}}, samples by suffix, or just a number


def read_counts(names: Sequence[str], endings: tuple[str, ...]) -> list[int]:
    """Return the number of samples in each shard from ``counts.json`` in its folder; -1 if it is unknown."""
    known = dict[str, _Counts]()
    counts = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in known:
            known[folder] = _counts_of(f"{folder}/{COUNTS}" if "/" in name else COUNTS)
        count = known[folder].get(base, -1)
        counts.append(sum(count.get(ending, 0) for ending in endings) if isinstance(count, dict) else count)
    return counts


def _counts_of(where: str) -> _Counts:
    try:
        found = json.loads(_contents(where))
    except (FileNotFoundError, PermissionError):  # S3 denies access to missing objects without permission to list
        return {}
    except json.JSONDecodeError:
        found = None
    entries = found.values() if isinstance(found, dict) else [None]
    flat = [each for entry in entries for each in (entry.values() if isinstance(entry, dict) else [entry])]
    if not all(isinstance(each, int) and each >= 0 for each in flat):
        raise ValueError(f'{where}: must be {{"shard.tar": {{".jpg": 812}}}}; delete it, and samples are counted')
    return dict(found)


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
