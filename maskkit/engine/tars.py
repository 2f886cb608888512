"""Samples in tar shards, WebDataset's format, read at random.

Members whose names agree up to the first dot of the last part are one sample: ``a/0001.jpg`` and ``a/0001.cls``. The
webdataset library streams through shards instead, so that its order depends on workers and ranks, and a run cannot be
resumed exactly where it stopped. Here an index names a sample for ever: the headers of a shard are read once, when it
is first touched, and any sample of any epoch in any process is one read away. Nothing is ever unpacked to a path that
an archive names.
"""

import errno
import glob
import io
import json
import os
import re
import stat
import tempfile
import weakref
from array import array
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from maskkit.engine.cache import file_system, is_remote, open_anywhere
from maskkit.engine.data import BadSampleError, generator
from maskkit.engine.headers import Damage, Member, members
from maskkit.engine.progress import track

COUNTS = "counts.json"  # beside shards: {"shard-000000.tar": {".jpg": 812}}, samples by suffix, or just a number
BUFFER = 16384  # samples; see Tars.order

_LABELS = (".cls", ".json", ".txt")  # the first that a sample has counts
_JSON_LABELS = ("label", "class")
_MISSING = "no such shard"
_LONGEST_LABEL = 1 << 16  # bytes; more is no label
_COPIED = 1 << 20  # bytes at a time
_MOST_OPEN = 64  # shards of a process
_LOOKED_AT = 8  # shards, when a data set is measured
_MOST_NAMES = 1_000_000


# Which shards


def names_shards(place: str) -> bool:
    """Tell whether a place that is no folder is written as tar shards: an address, or a pattern of ``.tar``."""
    return is_remote(place) or (
        place.lower().endswith(".tar") and (glob.has_magic(place) or _braced(place) is not None)
    )


def open_tars(place: str, names: Sequence[str], suffixes: Collection[str], *, buffer: int = BUFFER) -> "Tars":
    """Open shards in the order given; ``place`` is what the user wrote, for messages.

    Raises ValueError where no shard or no sample is there; what is wrong with one of several is told by its samples.
    """
    endings = tuple(sorted(suffix.lower() for suffix in suffixes))
    if not any(is_remote(name) or os.path.exists(name) for name in names):
        raise ValueError(f"{place}: none of its {len(names)} shards is there (the first: {names[0]}); correct the path")
    counts = _read_counts(names, endings)
    missing = [number for number, count in enumerate(counts) if count < 0]
    counted = np.array(counts) >= 0
    others = Counter[str]()
    for number in track(missing, f"counting samples (no {COUNTS})"):
        counts[number], others_here = _count(names[number], endings, _stamp(names[number]))
        others.update(others_here)
    if not sum(counts):
        there = f" (found {', '.join(suffix for suffix, _ in others.most_common(5))})" if others else ""
        raise ValueError(
            f"{place}: no sample in {len(names)} shards ends in {', '.join(endings)}{there}; "
            "a sample's suffix starts at the first dot of its name"
        )
    return Tars(np.array([os.fsencode(name) for name in names]), np.array(counts), counted, endings, buffer)


@cache  # a run opens its data several times
def _count(name: str, endings: tuple[str, ...], stamp: tuple[int, int]) -> tuple[int, Counter[str]]:
    finds = _Finds(endings, with_damage=True)
    if (descriptor := _look_into(name, finds)) >= 0:
        os.close(descriptor)
    elif is_remote(name) and finds.first_damage != _MISSING:  # else every process of a run may count another number
        raise ValueError(f"{name}: cannot be opened ({finds.first_damage}), and no {COUNTS} says what it holds")
    return len(finds), finds.others


def _stamp(name: str) -> tuple[int, int]:
    """Tell by size and time whether a shard is the one that was counted."""
    try:
        status = os.stat(name)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def expand_shards(place: str) -> list[str]:
    """List the shards that a pattern names: braces (``{000..099}``, ``{a,b}``) in order, wildcards sorted.

    >>> expand_shards("data/{train,test}-{08..10}.tar")[:4]
    ['data/train-08.tar', 'data/train-09.tar', 'data/train-10.tar', 'data/test-08.tar']
    """
    names = list[str]()
    for name in _without_braces(place):
        if not is_remote(name):
            names += sorted(glob.glob(name, recursive=True)) if glob.has_magic(name) else [name]
        elif name.lower().endswith(".tar") and not glob.has_magic(name):
            names.append(name)
        else:
            names += _remote_names(name)
    if not names:
        raise ValueError(f"{place}: no shard matches; correct the path")
    odd = next((name for name in names if not name.lower().endswith(".tar")), None)
    if odd is not None:
        raise ValueError(f"{place}: {odd} is no .tar shard; compressed ones must be unpacked first")
    return names


def _remote_names(address: str) -> list[str]:
    pattern = address if glob.has_magic(address) else f"{address.rstrip('/')}/*.tar"
    system, path = file_system(pattern)
    try:
        return sorted(system.unstrip_protocol(found) for found in system.glob(path))
    except Exception as error:  # clients of stores raise what they like
        raise ValueError(f"{address}: cannot be listed ({_reason(error)})") from error


def _braced(place: str) -> re.Match[str] | None:
    return re.search(r"\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}", place)


def _without_braces(place: str) -> Iterator[str]:
    found = _braced(place)
    if found is None:
        yield place
        return
    first, last, words = found.groups()
    if words is None:
        if abs(int(last) - int(first)) >= _MOST_NAMES:
            raise ValueError(f"{place}: names more than {_MOST_NAMES:,} shards; correct the range")
        width = max(len(first), len(last)) if "0" in (first[0], last[0]) else 0
        step = 1 if int(first) <= int(last) else -1
        options = [str(number).zfill(width) for number in range(int(first), int(last) + step, step)]
    else:
        options = words.split(",")
    for option in options:
        yield from _without_braces(place[: found.start()] + option + place[found.end() :])


def _read_counts(names: Sequence[str], endings: tuple[str, ...]) -> list[int]:
    """How many samples each shard holds as ``counts.json`` beside it says; -1 where nothing says it."""
    known = dict[str, Any]()
    counts = []
    for name in names:
        folder, _, base = name.rpartition("/")
        if folder not in known:
            known[folder] = _counts_of(f"{folder}/{COUNTS}" if "/" in name else COUNTS)
        count = known[folder].get(base, -1)
        counts.append(sum(count.get(ending, 0) for ending in endings) if isinstance(count, dict) else count)
    return counts


def _counts_of(place: str) -> dict[str, Any]:
    try:
        found = json.loads(_contents(place))
    except (FileNotFoundError, PermissionError):  # S3 refuses what is not there to those who may not list
        return {}
    except json.JSONDecodeError:
        found = None
    entries = found.values() if isinstance(found, dict) else [None]
    flat = [each for entry in entries for each in (entry.values() if isinstance(entry, dict) else [entry])]
    if not all(isinstance(each, int) and each >= 0 for each in flat):
        raise ValueError(f'{place}: must be {{"shard.tar": {{".jpg": 812}}}}; delete it, and samples are counted')
    return dict(found)


def _contents(place: str) -> bytes:
    if not is_remote(place):
        return Path(place).read_bytes()
    system, path = file_system(place)
    try:
        found: bytes = system.cat_file(path)
        return found
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # clients of stores raise what they like
        raise ValueError(f"{place}: cannot be read ({_reason(error)})") from error


# The samples


@dataclass(frozen=True, eq=False)
class Tars:
    """Samples of tar shards, as ``find_files`` gives files: by index, over all shards in their order.

    Names and places are arrays, not Python lists, and only those of shards in use are kept.
    """

    shards: NDArray[np.bytes_]
    counts: NDArray[np.int64]
    """Samples of each shard."""
    counted: NDArray[np.bool_]
    """Whether ``counts.json`` said so. Otherwise a place that is damaged counts as a (bad) sample."""
    endings: tuple[str, ...]
    buffer: int = BUFFER
    _starts: NDArray[np.int64] = field(init=False, repr=False)
    _in_use: OrderedDict[int, "_Shard"] = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.buffer < 1:
            raise ValueError(f"buffer must be at least 1 sample, got {self.buffer}")
        object.__setattr__(self, "_starts", np.concatenate([[0], np.cumsum(self.counts)]))

    def __reduce__(self) -> tuple[Any, ...]:  # open shards stay where they are
        return Tars, (self.shards, self.counts, self.counted, self.endings, self.buffer)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def path(self, index: int) -> str:
        """Return ``SHARD/MEMBER``, which need not exist as a path."""
        shard, place = self._find(index)
        return f"{shard.name}/{named}" if (named := shard.index.name(place)) else shard.name

    def label(self, index: int) -> str | None:
        """Return what the sample's ``.cls`` says, else "label" or "class" in its ``.json``, else its ``.txt``."""
        shard, place = self._find(index)
        return shard.label(place)

    def open(self, index: int) -> BinaryIO:
        """Open the sample's member. Raises BadSampleError."""
        shard, offset, size = self._locate(index)
        return io.BufferedReader(_Window(os.dup(shard.descriptor), offset, size), 1 << 16)

    @contextmanager
    def local(self, index: int) -> Iterator[str]:
        """Copy the sample to a temporary file with its suffix, which is gone afterwards. Raises BadSampleError."""
        suffix = _split(os.fsencode(self.path(index)))[1].decode(errors="replace")
        with tempfile.NamedTemporaryFile(suffix=suffix if suffix in self.endings else "") as copy:
            with self.open(index) as member:
                while chunk := member.read(_COPIED):
                    copy.write(chunk)
            copy.flush()
            yield copy.name

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the order of an epoch as keys (epoch, index), [n 2]: of seed and epoch alone.

        Shards in random order, then samples in random order within each ``buffer`` of them: as a shuffle buffer, this
        touches few shards at a time; unlike one, it has no state, and anyone can start anywhere in it.
        """
        rng = generator(seed, epoch)
        shards = torch.randperm(len(self.shards), generator=rng).numpy()
        counts = self.counts[shards]
        begins = np.cumsum(counts) - counts
        order = np.repeat(self._starts[shards] - begins, counts) + np.arange(len(self))
        for start in range(0, len(order), self.buffer):
            window = order[start : start + self.buffer]
            window[:] = window[torch.randperm(len(window), generator=rng).numpy()]
        return np.stack([np.full_like(order, epoch), order], axis=1)

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` samples to judge all by: of a few shards only, since a look may mean a download."""
        full = np.flatnonzero(self.counts)
        chosen = full[np.unique(np.linspace(0, len(full) - 1, min(_LOOKED_AT, count, len(full))).round().astype(int))]
        there = np.concatenate([np.arange(self._starts[shard], self._starts[shard + 1]) for shard in chosen])
        picked: list[int] = there[np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int)].tolist()
        return picked

    def _find(self, index: int) -> tuple["_Shard", int]:
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number = int(np.searchsorted(self._starts, index, side="right")) - 1
        shard = self._in_use.pop(number, None)
        if shard is None:
            finds = _Finds(self.endings, with_damage=not self.counted[number])
            shard = _Shard(os.fsdecode(self.shards[number]), finds, int(self.counts[number]))
            # As many as two windows touch, for samples that workers read ahead.
            most = min(_MOST_OPEN, 2 * -(-self.buffer * len(self.shards) // len(self)) + 2)
            while len(self._in_use) >= most:
                self._in_use.popitem(last=False)
        self._in_use[number] = shard
        return shard, index - int(self._starts[number])

    def _locate(self, index: int) -> tuple["_Shard", int, int]:
        shard, place = self._find(index)
        reason = shard.index.trouble(place)
        if not reason and shard.index.sizes[place] == 0:
            reason = "empty file"
        if reason:
            raise BadSampleError(self.path(index), reason)
        return shard, int(shard.index.offsets[place]), int(shard.index.sizes[place])


class _Shard:
    """One open shard, as this process has found it."""

    def __init__(self, name: str, finds: "_Finds", count: int) -> None:
        self.name, self.descriptor = name, _look_into(name, finds)
        if self.descriptor >= 0:
            weakref.finalize(self, os.close, self.descriptor).atexit = False
        self.index = finds.index(count)

    def label(self, place: int) -> str | None:
        index = self.index
        if place >= len(index.offsets) or not 0 < (size := int(index.label_sizes[place])) <= _LONGEST_LABEL:
            return None
        try:
            raw = os.pread(self.descriptor, size, int(index.label_offsets[place]))
            text = raw.decode("utf-8", errors="surrogateescape").strip()
            if _LABELS[index.label_kinds[place]] != ".json":
                return next(iter(text.splitlines()), None)
            said = json.loads(text)
            value = next((said[key] for key in _JSON_LABELS if key in said), None) if isinstance(said, dict) else None
        except (OSError, ValueError):
            return None
        return None if value is None else str(value)


@dataclass(frozen=True, eq=False)
class _Index:
    """Where the samples of one shard lie, in bytes. A sample without a label has one of size 0."""

    count: int
    names: bytes
    name_ends: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    label_kinds: NDArray[np.int8]
    label_offsets: NDArray[np.int64]
    label_sizes: NDArray[np.int64]
    troubles: dict[int, str]
    lost: str
    """Why the samples beyond those that were found cannot be read."""

    def name(self, place: int) -> str:
        if place >= len(self.name_ends):
            return f"sample {place}"
        return os.fsdecode(self.names[self.name_ends[place - 1] if place else 0 : self.name_ends[place]])

    def trouble(self, place: int) -> str:
        return self.troubles.get(place, "") if place < len(self.offsets) else self.lost


class _Finds:
    """What the headers of one shard say about its samples, while they are read."""

    def __init__(self, endings: tuple[str, ...], *, with_damage: bool) -> None:
        self.endings = frozenset(ending.encode() for ending in endings)
        self.labels = [label.encode() for label in _LABELS]
        self.with_damage = with_damage
        self.names = bytearray()
        self.name_ends, self.offsets, self.sizes = array("q"), array("q"), array("q")
        self.label_kinds, self.label_offsets, self.label_sizes = array("b"), array("q"), array("q")
        self.troubles: dict[int, str] = {}
        self.first_damage = ""
        self.others = Counter[str]()
        self._key, self._sample = b"", -1
        self._label = (len(_LABELS), 0, 0)  # of the sample at hand: kind, offset, size

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, item: Member | Damage) -> None:
        """Take in what comes next in the shard."""
        if isinstance(item, Damage):
            self.damage(f"byte {item.offset}", item.reason)
            return
        key, suffix = _split(item.name)
        if not suffix:
            return
        if key != self._key:
            self._key, self._sample, self._label = key, -1, (len(_LABELS), 0, 0)
        if suffix in self.endings:
            if self._sample < 0:  # of several members that would do, the first
                self._sample = len(self)
                self._append(item, self._label)
        elif suffix in self.labels and self.labels.index(suffix) < self._label[0] and not item.trouble:
            self._label = (self.labels.index(suffix), item.offset, item.size)
            if self._sample >= 0:
                labels = self.label_kinds, self.label_offsets, self.label_sizes
                for values, value in zip(labels, self._label, strict=True):
                    values[self._sample] = value
        else:
            self.others[suffix.decode(errors="replace")] += 1

    def damage(self, where: str, reason: str) -> None:
        """Note what cannot be read; where nobody knows how many samples it was, it counts as one."""
        self.first_damage = self.first_damage or reason
        if self.with_damage:
            self._append(Member(os.fsencode(where), 0, 0, reason), (len(_LABELS), 0, 0))

    def _append(self, member: Member, label: tuple[int, int, int]) -> None:
        if member.trouble:
            self.troubles[len(self)] = member.trouble
        self.names += member.name
        self.name_ends.append(len(self.names))
        self.offsets.append(member.offset)
        self.sizes.append(member.size)
        for values, value in zip((self.label_kinds, self.label_offsets, self.label_sizes), label, strict=True):
            values.append(value)

    def index(self, count: int) -> _Index:
        """Return what was found, for a shard that is known to hold ``count`` samples."""
        kept = len(self) if len(self) <= count else 0  # too many: then no number can be trusted to be what it was
        lost = self.first_damage if 0 < kept or len(self) == 0 else ""
        return _Index(
            count=count,
            names=bytes(self.names),
            name_ends=np.array(self.name_ends[:kept], np.int64),
            offsets=np.array(self.offsets[:kept], np.int64),
            sizes=np.array(self.sizes[:kept], np.int64),
            label_kinds=np.array(self.label_kinds[:kept], np.int8),
            label_offsets=np.array(self.label_offsets[:kept], np.int64),
            label_sizes=np.array(self.label_sizes[:kept], np.int64),
            troubles=self.troubles,
            lost=lost or f"the shard holds {len(self)} samples, not {count}; mend it, or delete {COUNTS}",
        )


def _look_into(name: str, finds: _Finds) -> int:
    """Read a shard's headers. Returns the open file, or -1 where there is none; what is wrong is among the finds."""
    try:
        descriptor = open_anywhere(name)
    except Exception as error:  # clients of stores raise what they like
        place = getattr(error, "filename", None)
        where = f" ({place})" if is_remote(name) and place else ""  # the cache's trouble is not the shard's
        finds.damage("", _MISSING if isinstance(error, FileNotFoundError) else _reason(error) + where)
        return -1
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a folder, not a shard" if stat.S_ISDIR(mode) else "not an ordinary file")
        for item in members(descriptor):
            finds.add(item)
    except OSError as error:
        finds.damage("", _reason(error))
    return descriptor


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Cut a member's name at the first dot of its last part; no suffix for hidden files and folders."""
    folder, slash, base = name.rpartition(b"/")
    stem, dot, suffix = base.partition(b".")
    return (folder + slash + stem, dot + suffix.lower()) if stem and dot else (name, b"")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


class _Window(io.RawIOBase):
    """A part of an open file, as a file: own position, nothing beyond the end."""

    def __init__(self, descriptor: int, offset: int, size: int) -> None:
        self._descriptor, self._offset, self._size, self._at = descriptor, offset, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if at < 0:
            raise OSError(errno.EINVAL, "a place before the start")
        self._at = at
        return at

    def readinto(self, buffer: Any) -> int:
        wanted = memoryview(buffer).cast("B")[: max(0, self._size - self._at)]
        count = os.preadv(self._descriptor, [wanted], self._offset + self._at)
        self._at += count
        return count

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()
