"""Several files of arrays as one source, and the search for them."""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from maskkit.batches import Sample
from maskkit.data import hdf5
from maskkit.data.arrays import Array, ArraySource, Row, is_array_file
from maskkit.data.find import find_files
from maskkit.data.paths import Files, Paths
from maskkit.data.source import Key, random_order, spread_evenly

R = TypeVar("R", bound=Row)


@dataclass(frozen=True, eq=False)
class JoinedArrays(Generic[R]):
    """A source of the rows of several files, one file after the other. Raises ValueError if their kinds differ."""

    parts: tuple[ArraySource[R], ...]
    _starts: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        first = self.parts[0]
        for part in self.parts[1:]:
            if part.row != first.row:
                raise ValueError(f"{part.where} and {first.where} hold arrays of other kinds; name one of them")
        object.__setattr__(self, "_starts", (0, *accumulate(len(part) for part in self.parts)))

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def row(self) -> R:
        """What converts a row into a sample."""
        return self.parts[0].row

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a row of the first file."""
        return self.parts[0].shape

    @property
    def repeats(self) -> int:
        """The number of samples per row: 1."""
        return 1

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the keys of an epoch [n 3] in a random order. Raises ValueError if a file was truncated."""
        for part in self.parts:
            part.check_whole()
        return random_order(len(self), seed, epoch)

    def read(self, key: Key, rng: torch.Generator) -> Sample:
        """Return the sample of a row. Raises BadSampleError."""
        part, index = self._find(key.index)
        return part.read(key._replace(index=index), rng)

    def stored(self, index: int) -> Array:
        """Return a row as it is stored, in the axes of the modality. Raises BadSampleError."""
        part, index = self._find(index)
        return part.stored(index)

    def path(self, index: int) -> str:
        """Return the name of a row, such as ``train0.h5[7]``."""
        part, index = self._find(index)
        return part.path(index)

    def label(self, index: int) -> str | None:
        """Return the class of a row, or None if its file has no labels."""
        part, index = self._find(index)
        return part.label(index)

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` evenly spread indices, for statistics of the data set."""
        return spread_evenly(len(self), count)

    def _find(self, index: int) -> tuple[ArraySource[R], int]:
        number = bisect_right(self._starts, index) - 1
        return self.parts[number], index - self._starts[number]


Arrays = ArraySource[R] | JoinedArrays[R]


def open_arrays(paths: Sequence[str], open_one: Callable[[str], ArraySource[R]]) -> Arrays[R]:
    """Open files of arrays as one source. Raises ValueError."""
    parts = tuple(open_one(path) for path in paths)
    return parts[0] if len(parts) == 1 else JoinedArrays(parts)


def find_data(where: str | Path, find: Callable[[str], Files]) -> Files | tuple[str, ...]:
    """Return the paths of array files that ``where`` names, or else the files that ``find`` finds.

    Array files are one file (.npy, .npz, .h5, .hdf5), a list of HDF5 files, and a folder or glob of HDF5 files in which
    ``find`` finds nothing. Raises the ValueError of ``find``.
    """
    path = os.path.expanduser(os.fspath(where))
    if is_array_file(path) and (os.path.isfile(path) or not _finds_several(path)):
        return (path,)
    if listed := _listed(path):
        return listed
    try:
        return find(path)
    except ValueError:
        found = _several(path) if _finds_several(path) else None
        if found is None:
            raise
        return found


def _finds_several(path: str) -> bool:
    return os.path.isdir(path) or any(mark in path for mark in "*?[")


def _several(path: str) -> tuple[str, ...] | None:
    """Return the HDF5 files of a folder or a glob."""
    try:
        files = find_files(path, hdf5.SUFFIXES)
    except ValueError:
        return None
    return tuple(files.path(index) for index in range(len(files))) if isinstance(files, Paths) else None


def _listed(path: str) -> tuple[str, ...] | None:
    """Return the HDF5 files that a list names, one per line; None for any other file.

    ModelNet40's lists name files by a path from the authors' working directory: such a file may lie beside its list.
    """
    if not (path.lower().endswith((".txt", ".lst", ".list")) and os.path.isfile(path)):
        return None
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        if not hdf5.is_hdf5(file.readline(8192).strip()):
            return None
        file.seek(0)
        lines = [line.strip() for line in file if line.strip()]
    if not all(map(hdf5.is_hdf5, lines)):
        raise ValueError(f"{path}: names HDF5 files and others; make a list of each")
    folder = os.path.dirname(path)
    places = [(os.path.join(folder, line), line, os.path.join(folder, os.path.basename(line))) for line in lines]
    return tuple(next((place for place in some if os.path.exists(place)), some[0]) for some in places)
