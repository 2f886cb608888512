"""The index of a shard: the positions of its samples, from the headers of its members."""

import errno
import os
import stat
from array import array
from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from maskkit.data.shards.counts import COUNTS
from maskkit.data.shards.download import is_remote, open_anywhere
from maskkit.data.shards.headers import Damage, Member, members
from maskkit.files import short_reason

LABELS = (".cls", ".json", ".txt")  # the first that a sample has counts

MISSING = "no such shard"


@dataclass(frozen=True, eq=False)
class Index:
    """The positions of the samples of a shard, in bytes. A sample without a label has a label of size 0."""

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
    """The reason why samples beyond those that were found cannot be read."""

    def name(self, position: int) -> str:
        """Return the name of a sample, without its suffix."""
        if position >= len(self.name_ends):
            return f"sample {position}"
        return os.fsdecode(self.names[self.name_ends[position - 1] if position else 0 : self.name_ends[position]])

    def trouble(self, position: int) -> str:
        """Return why a sample cannot be read; empty where it can."""
        return self.troubles.get(position, "") if position < len(self.offsets) else self.lost


class Finds:
    """Collects the samples of a shard while its headers are read."""

    def __init__(self, endings: tuple[str, ...], *, with_damage: bool) -> None:
        self.endings = frozenset(ending.encode() for ending in endings)
        self.labels = [label.encode() for label in LABELS]
        self._tails = tuple(self.endings)
        self.with_damage = with_damage
        self.names = bytearray()
        self.name_ends, self.offsets, self.sizes = array("q"), array("q"), array("q")
        self.label_kinds, self.label_offsets, self.label_sizes = array("b"), array("q"), array("q")
        self.troubles: dict[int, str] = {}
        self.first_damage = ""
        self.others = Counter[str]()
        self._key, self._sample, self._suffix = b"", -1, b""
        self.num_dotted, self.dotted = 0, ""
        """The number of members that look like samples and are none, and the name of the first."""
        self.num_repeated, self.repeated = 0, ""
        """The number of members that have the name of the one before, and the first such name."""
        self._dotted: list[Member] = []  # of the key at hand, with a dot before the suffix of a sample
        self._label = (len(LABELS), 0, 0)  # of the sample at hand: kind, offset, size

    def __len__(self) -> int:
        return len(self.offsets)

    def add(self, item: Member | Damage) -> None:
        """Add the next member or damage of the shard."""
        if isinstance(item, Damage):
            self.damage(f"byte {item.offset}", item.reason)
            return
        key, suffix = split_name(item.name)
        if not suffix:
            return
        if key != self._key:
            self.finish()
            self._key, self._sample, self._label = key, -1, (len(LABELS), 0, 0)
        if suffix in self.endings:
            if self._sample < 0:  # of several matching members, the first
                self._sample, self._suffix = len(self), suffix
                self._append(item, self._label)
            elif suffix == self._suffix:
                self.num_repeated, self.repeated = self.num_repeated + 1, self.repeated or os.fsdecode(item.name)
        elif suffix in self.labels and self.labels.index(suffix) < self._label[0] and not item.trouble:
            self._label = (self.labels.index(suffix), item.offset, item.size)
            if self._sample >= 0:
                labels = self.label_kinds, self.label_offsets, self.label_sizes
                for values, value in zip(labels, self._label, strict=True):
                    values[self._sample] = value
        else:
            self.others[suffix.decode(errors="replace")] += 1
            if suffix.endswith(self._tails):
                self._dotted.append(item)

    def finish(self) -> None:
        """End a key. If only names with a dot before the suffix have it, the format's rule loses a sample in each.

        Such a name beside a sample, as ``7.mask.png`` beside ``7.jpg``, is another part of that sample.
        """
        if self._sample < 0 and self._dotted:
            self.num_dotted += len(self._dotted)
            self.dotted = self.dotted or os.fsdecode(self._dotted[0].name)
        self._dotted.clear()

    def damage(self, where: str, reason: str) -> None:
        """Record damage. If the number of affected samples is unknown, it counts as one."""
        self.first_damage = self.first_damage or reason
        if self.with_damage:
            self._append(Member(os.fsencode(where), 0, 0, reason), (len(LABELS), 0, 0))

    def _append(self, member: Member, label: tuple[int, int, int]) -> None:
        if member.trouble:
            self.troubles[len(self)] = member.trouble
        self.names += member.name
        self.name_ends.append(len(self.names))
        self.offsets.append(member.offset)
        self.sizes.append(member.size)
        for values, value in zip((self.label_kinds, self.label_offsets, self.label_sizes), label, strict=True):
            values.append(value)

    def index(self, count: int) -> Index:
        """Return the index of a shard that is known to hold ``count`` samples."""
        kept = len(self) if len(self) <= count else 0  # too many: then no number can be trusted to be what it was
        lost = self.first_damage if 0 < kept or len(self) == 0 else ""
        return Index(
            count=count,
            names=bytes(self.names),
            name_ends=np.array(self.name_ends[:kept], np.int64),
            offsets=np.array(self.offsets[:kept], np.int64),
            sizes=np.array(self.sizes[:kept], np.int64),
            label_kinds=np.array(self.label_kinds[:kept], np.int8),
            label_offsets=np.array(self.label_offsets[:kept], np.int64),
            label_sizes=np.array(self.label_sizes[:kept], np.int64),
            troubles=self.troubles,
            lost=lost or f"the shard holds {len(self)} samples, not {count}; fix it, or delete {COUNTS}",
        )


def look_into(name: str, finds: Finds) -> int:
    """Read a shard's headers into ``finds``. Returns the open file, or -1; errors are recorded in ``finds``."""
    try:
        descriptor = open_anywhere(name)
    except Exception as error:  # clients of object stores raise various errors
        file = getattr(error, "filename", None)
        where = f" ({file})" if is_remote(name) and file else ""  # the cache's trouble is not the shard's
        finds.damage("", MISSING if isinstance(error, FileNotFoundError) else short_reason(error) + where)
        return -1
    try:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "a folder, not a shard" if stat.S_ISDIR(mode) else "not an ordinary file")
        for item in members(descriptor):
            finds.add(item)
        finds.finish()
    except OSError as error:
        finds.damage("", short_reason(error))
    return descriptor


def split_name(name: bytes) -> tuple[bytes, bytes]:
    """Cut a member's name at the first dot of its last part; no suffix for hidden files and folders."""
    folder, slash, base = name.rpartition(b"/")
    stem, dot, suffix = base.partition(b".")
    return (folder + slash + stem, dot + suffix.lower()) if stem and dot else (name, b"")
