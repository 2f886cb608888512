"""Files of samples: their protocol, and paths on this machine."""

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
    """Files, or members of tar shards, from which a modality's source reads samples.

    Tar shards also have an ``order`` (see ``data.source.Source``), which a source passes on.
    """

    def __len__(self) -> int:
        """Return the number of files, broken ones included."""

    def path(self, index: int) -> str:
        """Return the path or name of file ``index``."""

    def label(self, index: int) -> str | None:
        """Return the class name of file ``index``, or None."""

    def open(self, index: int) -> BinaryIO:
        """Open file ``index`` as a seekable stream. Raises BadSampleError if it cannot be read."""

    def local(self, index: int) -> AbstractContextManager[str]:
        """Return a context with a local path of file ``index``, for libraries that need one.

        Raises as ``open`` does.
        """

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` evenly spread indices, for statistics of the data set."""


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """The common base of sources of files: a ``data.source.Source`` without ``read``."""

    files: Files

    def __len__(self) -> int:
        return len(self.files)

    def path(self, index: int) -> str:
        """Return the path of sample ``index``."""
        return self.files.path(index)

    def label(self, index: int) -> str | None:
        """Return the class of sample ``index``, if a sub-folder or a list names one."""
        return self.files.label(index)

    @property
    def repeats(self) -> int:
        """The number of samples per file: 1."""
        return 1

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` evenly spread indices, for statistics of the data set."""
        return self.files.spread(count)

    @property
    def order(self) -> Callable[[int, int], NDArray[np.int64]] | None:
        """The function (seed, epoch) -> keys [n 3], if the files have an order of their own (tar shards), or None."""
        return getattr(self.files, "order", None)


@dataclass(frozen=True, eq=False)
class Paths:
    """Paths with their labels, stored in arrays.

    A forked worker that reads Python objects changes their reference counts, and so copies a list of a million paths
    page by page. Arrays avoid this. ``labels`` are indices into ``classes``; -1 is a file without a class.
    """

    paths: NDArray[np.bytes_]
    labels: NDArray[np.int32] | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def path(self, index: int) -> str:
        """Return path ``index``. Bytes that are not UTF-8 are preserved."""
        return os.fsdecode(self.paths[index])

    def label(self, index: int) -> str | None:
        """Return the class name of file ``index``, or None."""
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
        """Return up to ``count`` evenly spread indices."""
        return spread_evenly(len(self), count)


def open_file(path: str, wanted: str = "file") -> BinaryIO:
    """Open a file of a sample. Raises BadSampleError if it cannot be read."""
    check_readable(path, wanted)
    try:
        return open(path, "rb")
    except OSError as error:
        raise BadSampleError(path, short_reason(error)) from None


def sorted_classes(names: Collection[str]) -> tuple[str, ...]:
    """Return sorted class names: by number if all are whole numbers, otherwise by name."""
    numbers = all(name.isdecimal() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name) if numbers else 0, name)))


def paths_of(entries: Sequence[Entry]) -> Paths:
    """Return ``Paths`` from paths and labels, with sorted classes."""
    paths = np.array([os.fsencode(path) for path, _ in entries])
    classes = sorted_classes({label for _, label in entries if label is not None})
    if not classes:
        return Paths(paths, None, ())
    position = {name: i for i, name in enumerate(classes)}
    labels = [-1 if label is None else position[label] for _, label in entries]
    return Paths(paths, np.array(labels, dtype=np.int32), classes)
