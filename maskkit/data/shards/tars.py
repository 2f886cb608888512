"""Random access to samples in tar shards (WebDataset's format).

Members whose names agree up to the first dot of the last part are one sample: ``a/0001.jpg`` and ``a/0001.cls``. The
webdataset library streams through shards, so its order depends on workers and ranks, and a run cannot be resumed
exactly. Here every sample has a fixed index: the headers of a shard are read once, on first use, and any sample can
then be read directly. Nothing is unpacked to a path that an archive names.
"""

import io
import logging
import os
import tempfile
import weakref
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from maskkit.data.shards.counts import COUNTS, read_counts
from maskkit.data.shards.download import is_remote
from maskkit.data.shards.index import LABELS, MISSING, Finds, look_into, split_name
from maskkit.data.shards.window import Window
from maskkit.data.source import BadSampleError, keys_of
from maskkit.files import parse_json
from maskkit.progress import track
from maskkit.seeds import generator

BUFFER = 16384  # samples; see Tars.order

_LOG = logging.getLogger("maskkit")

_JSON_LABELS = ("label", "class")

_LONGEST_LABEL = 1 << 16  # bytes; more is no label

_COPIED = 1 << 20  # bytes at a time

_MOST_OPEN = 64  # shards of a process

_LOOKED_AT = 8  # shards, when a data set is measured


def open_tars(where: str, names: Sequence[str], suffixes: Collection[str], *, buffer: int = BUFFER) -> "Tars":
    """Open shards in the given order. ``where`` is the user's text, for messages.

    Raises ValueError if there is no shard or no sample. Errors of single shards are reported by their samples.
    """
    endings = tuple(sorted(suffix.lower() for suffix in suffixes))
    if not any(is_remote(name) or os.path.exists(name) for name in names):
        raise ValueError(f"{where}: none of its {len(names)} shards is there (the first: {names[0]}); correct the path")
    counts = read_counts(names, endings)
    missing = [number for number, count in enumerate(counts) if count < 0]
    counted = np.array(counts) >= 0
    others = Counter[str]()
    for number in track(missing, f"counting samples (no {COUNTS})"):
        counts[number], others_here = _count(names[number], endings, _stamp(names[number]))
        others.update(others_here)
    if not sum(counts):
        there = f" (found {', '.join(suffix for suffix, _ in others.most_common(5))})" if others else ""
        raise ValueError(
            f"{where}: no sample in {len(names)} shards ends in {', '.join(endings)}{there}; "
            "a sample's suffix starts at the first dot of its name"
        )
    return Tars(np.array([os.fsencode(name) for name in names]), np.array(counts), counted, endings, buffer)


@cache  # a run opens its data several times
def _count(name: str, endings: tuple[str, ...], stamp: tuple[int, int]) -> tuple[int, Counter[str]]:
    finds = Finds(endings, with_damage=True)
    if (descriptor := look_into(name, finds)) >= 0:
        os.close(descriptor)
    elif is_remote(name) and finds.first_damage != MISSING:  # else every process of a run may count another number
        raise ValueError(f"{name}: cannot be opened ({finds.first_damage}), and no {COUNTS} says what it holds")
    if finds.num_dotted:
        _LOG.warning(
            f"{name}: {finds.num_dotted} files such as {finds.dotted} are no samples, since a suffix starts at the "
            "first dot of a name; rename them (maskkit pack writes such shards)"
        )
    if finds.num_repeated:
        _LOG.warning(
            f"{name}: {finds.num_repeated} files such as {finds.repeated} have the name of the one before and are not "
            "read; give them other names (maskkit pack writes such shards)"
        )
    return len(finds), finds.others


def _stamp(name: str) -> tuple[int, int]:
    """Return size and time of a shard, which identify its contents."""
    try:
        status = os.stat(name)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@dataclass(frozen=True, eq=False)
class Tars:
    """The samples of tar shards as files (``paths.Files``), indexed over all shards in their order.

    Names and positions are stored in arrays, for shards in use only.
    """

    shards: NDArray[np.bytes_]
    counts: NDArray[np.int64]
    """Number of samples in each shard."""
    counted: NDArray[np.bool_]
    """True if ``counts.json`` gave the number. Otherwise a damaged section counts as one (bad) sample."""
    endings: tuple[str, ...]
    buffer: int = BUFFER
    _starts: NDArray[np.int64] = field(init=False, repr=False)
    _in_use: OrderedDict[int, "_Shard"] = field(init=False, repr=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        if self.buffer < 1:
            raise ValueError(f"buffer must be at least 1 sample, got {self.buffer}")
        object.__setattr__(self, "_starts", np.concatenate([[0], np.cumsum(self.counts)]))

    def __reduce__(self) -> tuple[object, ...]:  # open shards are not copied to other processes
        return Tars, (self.shards, self.counts, self.counted, self.endings, self.buffer)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def path(self, index: int) -> str:
        """Return ``SHARD/MEMBER`` as a name, which is no path."""
        shard, position = self._find(index)
        return f"{shard.name}/{named}" if (named := shard.index.name(position)) else shard.name

    def label(self, index: int) -> str | None:
        """Return the class from the sample's ``.cls``, else "label" or "class" in its ``.json``, else its ``.txt``."""
        shard, position = self._find(index)
        return shard.label(position)

    def open(self, index: int) -> BinaryIO:
        """Open the sample's member. Raises BadSampleError."""
        shard, offset, size = self._locate(index)
        return io.BufferedReader(Window(os.dup(shard.descriptor), offset, size), 1 << 16)

    @contextmanager
    def local(self, index: int) -> Iterator[str]:
        """Yield a temporary copy of the sample with its suffix, which is deleted afterwards. Raises BadSampleError."""
        suffix = split_name(os.fsencode(self.path(index)))[1].decode(errors="replace")
        with tempfile.NamedTemporaryFile(suffix=suffix if suffix in self.endings else "") as copy:
            with self.open(index) as member:
                while chunk := member.read(_COPIED):
                    copy.write(chunk)
            copy.flush()
            yield copy.name

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the keys of an epoch [n 3], in an order that depends on seed and epoch only.

        Shards are in random order, and samples are in random order within each window of ``buffer`` samples. Like a
        shuffle buffer, this uses few shards at a time; unlike one, it has no state, so reading can start anywhere.
        """
        rng = generator(seed, epoch)
        shards = torch.randperm(len(self.shards), generator=rng).numpy()
        counts = self.counts[shards]
        begins = np.cumsum(counts) - counts
        order = np.repeat(self._starts[shards] - begins, counts) + np.arange(len(self))
        for start in range(0, len(order), self.buffer):
            window = order[start : start + self.buffer]
            window[:] = window[torch.randperm(len(window), generator=rng).numpy()]
        return keys_of(epoch, order)

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` indices for statistics of the data set, from a few shards only, to limit downloads."""
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
            finds = Finds(self.endings, with_damage=not self.counted[number])
            shard = _Shard(os.fsdecode(self.shards[number]), finds, int(self.counts[number]))
            # As many as two windows use, for samples that workers read ahead.
            most = min(_MOST_OPEN, 2 * -(-self.buffer * len(self.shards) // len(self)) + 2)
            while len(self._in_use) >= most:
                self._in_use.popitem(last=False)
        self._in_use[number] = shard
        return shard, index - int(self._starts[number])

    def _locate(self, index: int) -> tuple["_Shard", int, int]:
        shard, position = self._find(index)
        reason = shard.index.trouble(position)
        if not reason and shard.index.sizes[position] == 0:
            reason = "empty file"
        if reason:
            raise BadSampleError(self.path(index), reason)
        return shard, int(shard.index.offsets[position]), int(shard.index.sizes[position])


class _Shard:
    """An open shard and its index."""

    def __init__(self, name: str, finds: "Finds", count: int) -> None:
        self.name, self.descriptor = name, look_into(name, finds)
        if self.descriptor >= 0:
            weakref.finalize(self, os.close, self.descriptor).atexit = False
        self.index = finds.index(count)

    def label(self, position: int) -> str | None:
        index = self.index
        if position >= len(index.offsets) or not 0 < (size := int(index.label_sizes[position])) <= _LONGEST_LABEL:
            return None
        try:
            raw = os.pread(self.descriptor, size, int(index.label_offsets[position]))
            text = raw.decode("utf-8", errors="surrogateescape").strip()
            if LABELS[index.label_kinds[position]] != ".json":
                return next(iter(text.splitlines()), None)
            said = parse_json(text)
            value = next((said[key] for key in _JSON_LABELS if key in said), None) if isinstance(said, dict) else None
        except (OSError, ValueError):
            return None
        return None if value is None else str(value)
