"""Files that samples are read from: their protocol, and paths on this machine."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from maskkit.data.source import spread_evenly
from maskkit.files import BadSampleError, check_readable, short_reason

Entry = tuple[str, str | None]  # a path and its label


class Files(Protocol):
    """Samples that lie in files, or in members of tar shards: what a modality's source reads from.

    Tar shards have an ``order`` as well (see ``data.source.Source``), which a source hands on.
    """

    def __len__(self) -> int:
        """Return the number of files, broken ones included."""

    def path(self, index: int) -> str:
        """Name file ``index``."""

    def label(self, index: int) -> str | None:
        """Return the class name of file ``index``, None where nothing names one."""

    def open(self, index: int) -> BinaryIO:
        """Open file ``index`` as a stream that can seek. Raises BadSampleError if there is nothing to read."""

    def local(self, index: int) -> AbstractContextManager[str]:
        """Give file ``index`` a path inside ``with``, for libraries that take nothing else. Raises as ``open`` does."""

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` indices, evenly spread, to judge all files by."""


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """The common part of sources whose samples lie in files: an abstract ``data.source.Source``, without ``read``."""

    files: Files

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        """Return the file of sample ``index``."""
        return self.files.path(index)

    def label(self, index: int) -> str | None:
        """Return its class, where a sub-folder or a list names one."""
        return self.files.label(index)

    @property
    def repeats(self) -> int:
        """1: each file is one sample."""
        return 1

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` indices, evenly spread, to judge all files by."""
        return self.files.spread(count)

    @property
    def order(self) -> Callable[[int, int], NDArray[np.int64]] | None:
        """The order in which an epoch visits the samples, where the files have one of their own (tar shards)."""
        return getattr(self.files, "order", None)


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths with their labels, in arrays.

    Arrays, because a forked worker that merely looks at a Python object writes its reference count, and so copies a
    list of a million paths page by page. ``labels`` index ``classes``; -1 is a file without one among labelled files.
    """

    paths: NDArray[np.bytes_]
    labels: NDArray[np.int32] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> str:
        """Return path ``index``; bytes that are no UTF-8 survive the round trip to the file system."""
        return os.fsdecode(self.paths[index])

    def label(self, index: int) -> str | None:
        """Return the class name of file ``index``, None where nothing names one."""
        if self.labels is None or self.labels[index] < 0:
            return None
        return self.classes[int(self.labels[index])]

    def open(self, index: int) -> BinaryIO:
        """Open file ``index``. Raises BadSampleError."""
        return open_file(self.path(index))

    @contextmanager
    def local(self, index: int) -> Iterator[str]:
        """Return the path itself. Raises BadSampleError."""
        path = self.path(index)
        check_readable(path, "file")
        yield path

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` indices, evenly spread."""
        return spread_evenly(len(self), count)


def open_file(path: str, wanted: str = "file") -> BinaryIO:
    """Open a file that samples are read from. Raises BadSampleError if there is nothing to read."""
    check_readable(path, wanted)
    try:
        return open(path, "rb")
    except OSError as error:
        raise BadSampleError(path, short_reason(error)) from None


def sorted_classes(names: Collection[str]) -> tuple[str, ...]:
    """Sort class names: by number where all are whole numbers, so that 10 does not come before 2, otherwise by name."""
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def paths_of(entries: Sequence[Entry]) -> Paths:
    """Return paths with their labels as arrays; classes are sorted."""
    paths = np.array([os.fsencode(path) for path, _ in entries])
    classes = sorted_classes({label for _, label in entries if label is not None})
    if not classes:
        return Paths(paths, None, ())
    position = {name: i for i, name in enumerate(classes)}
    labels = [-1 if label is None else position[label] for _, label in entries]
    return Paths(paths, np.array(labels, dtype=np.int32), classes)
