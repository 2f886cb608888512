"""Samples in .npy, .npz and HDF5 files: a source, the choice of arrays by name, and errors in one line."""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field
from functools import partial
from typing import Generic, Protocol, TypeVar
from zipfile import ZipFile, ZipInfo

import numpy as np
import torch
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from maskkit.batches import Sample
from maskkit.data import hdf5
from maskkit.data.hdf5 import DataSet
from maskkit.data.limits import check_decoded
from maskkit.data.source import Key, random_order, spread_evenly
from maskkit.files import BadSampleError, short_reason

LABELS = ("labels", "label", "y", "targets", "target", "y_train", "train_labels")

SUFFIXES = (".npy", ".npz", *hdf5.SUFFIXES)

Array = NDArray[np.generic]
# Labels, or why they cannot be used. Pretraining needs none, so only who asks for a label is told.
Labels = Array | ValueError | None


def is_array_file(path: str) -> bool:
    """Return whether a file holds arrays, by its suffix: .npy, .npz, .h5 or .hdf5."""
    return path.lower().endswith(SUFFIXES)


class Stored(Protocol):
    """Rows [N ...] in memory, in a memory map, or in a file that is read row by row."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape, [N ...]."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of the values."""

    @property
    def ndim(self) -> int:
        """The number of axes."""


class Row(Protocol):
    """Converts a row of an array into a sample. It must be picklable, for worker processes."""

    def __call__(self, stored: Array, path: str, rng: torch.Generator) -> Sample:
        """Return the sample of a stored row. Raises BadSampleError with ``path`` as its name."""


R = TypeVar("R", bound=Row)
Arrange = Callable[[Array, str], Array]


def _as_stored(array: Array, where: str) -> Array:
    return array


@dataclass(frozen=True, eq=False)
class Arranged:
    """The rows of a data set of an HDF5 file in the axes of a modality, each arranged when it is read."""

    rows: DataSet
    arrange: Arrange
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        same = np.broadcast_to(np.zeros((), self.rows.dtype), self.rows.shape)  # the shape in full, in one value
        object.__setattr__(self, "shape", self.arrange(same, self.rows.where).shape)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Array:
        """Read a row. Raises BadSampleError."""
        return self.arrange(self.rows[index][None], self.rows.where)[0]


def _arranged(samples: Array | DataSet, arrange: Arrange, where: str) -> Array | Arranged:
    return Arranged(samples, arrange) if isinstance(samples, DataSet) else arrange(samples, where)


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource(Generic[R]):
    """A source of the rows of one file: ``.npy`` (memory-mapped), ``.npz`` (loaded once) or HDF5 (read row by row).

    ``names`` are possible names of the samples in a file of several arrays, ``also`` those of a second array, and
    ``columns`` those of an array whose columns are appended; see ``load_arrays``. ``row`` converts a row into a sample.
    ``arrange`` returns a view of the whole array in the axes of the modality, the same for each row, and raises
    ValueError for arrays that do not fit. A spawned process opens the file again, because pickling would copy the whole
    memory map. Raises ValueError for files that cannot be loaded.
    """

    where: str
    names: tuple[str, ...]
    row: R
    arrange: Arrange = _as_stored
    also: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    loaded: InitVar[tuple[Array | DataSet, Labels] | None] = None
    """Samples and labels, if the file was loaded before."""
    array: Array | Arranged = field(init=False, repr=False)
    """Samples as ``arrange`` views them, [N ...]."""
    _labels: Labels = field(init=False, repr=False)
    _mapped: int = field(init=False, repr=False)
    """Bytes of the file that are mapped into memory; 0 for a file that was loaded."""

    def __post_init__(self, loaded: tuple[Array | DataSet, Labels] | None) -> None:
        samples, labels = loaded or load_arrays(self.where, self.names, also=self.also, columns=self.columns)[:2]
        object.__setattr__(self, "array", _arranged(samples, self.arrange, self.where))
        object.__setattr__(self, "_labels", _or_error(lambda: check_labels(labels, len(self.array), self.where)))
        object.__setattr__(self, "_mapped", samples.offset + samples.nbytes if isinstance(samples, np.memmap) else 0)

    def __reduce__(self) -> tuple[object, ...]:
        fields = {name: getattr(self, name) for name in ("where", "names", "row", "arrange", "also", "columns")}
        return partial(type(self), **fields), ()

    def __len__(self) -> int:
        return len(self.array)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row, as ``arrange`` views it."""
        return self.array.shape[1:]

    @property
    def repeats(self) -> int:
        """The number of samples per row: 1."""
        return 1

    def order(self, seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the keys of an epoch [n 3] in a random order. Raises ValueError as ``check_whole``."""
        self.check_whole()
        return random_order(len(self), seed, epoch)

    def check_whole(self) -> None:
        """Raise ValueError if the file was truncated after it was opened."""
        if reason := self._truncated():
            raise ValueError(f"{self.where}: {reason}; write it whole, under another name, and rename it")

    def _truncated(self) -> str:
        """Say whether a mapped file is shorter than it was: to read beyond its end would end the process."""
        try:
            size = os.stat(self.where).st_size if self._mapped else 0
        except OSError:  # a deleted file can still be read
            return ""
        return f"truncated since it was opened: {size} of {self._mapped} bytes" if size < self._mapped else ""

    def read(self, key: Key, rng: torch.Generator) -> Sample:
        """Return the sample of a row. Raises BadSampleError."""
        return self.row(self.stored(key.index), self.path(key.index), rng)

    def stored(self, index: int) -> Array:
        """Return a row as it is stored, in the axes of the modality. Raises BadSampleError."""
        if reason := self._truncated():
            raise BadSampleError(self.path(index), reason)
        return np.asarray(self.array[index])

    def path(self, index: int) -> str:
        """Return the name of a row, such as ``digits.npz[7]``."""
        return f"{self.where}[{index}]"

    def label(self, index: int) -> str | None:
        """Return the class of a row, or None if the file has no labels. Raises ValueError if they cannot be used."""
        return label_text(self._labels, index)

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` evenly spread indices, for statistics of the data set."""
        return spread_evenly(len(self), count)


def load_arrays(
    where: str, names: Sequence[str], *, also: Sequence[str] = (), columns: Sequence[str] = ()
) -> tuple[Array | DataSet, Labels, Array | None]:
    """Return the samples in a file, their labels, and the array named by one of ``also``; None for absent arrays.

    Labels that cannot be read are the error that says so. ``choose_keys`` selects the arrays. An .npy file is mapped
    into memory; of an .npz file only the returned arrays are unpacked; the samples of an HDF5 file are read row by row
    later. The last axis of an array named by one of ``columns``, if there is one, is appended to that of the samples.
    Pickles can run code and are rejected with
    ValueError.
    """
    assert not (also and columns)
    if not os.path.exists(where):
        raise ValueError(f"{where}: no such file or directory; check the path of the data")
    if hdf5.is_hdf5(where):
        named, labelled, further = _chosen(where, hdf5.data_sets(where), names, also or columns)
        rows = DataSet(where, (named,) if further is None or not columns else (named, further))
        classes = None if labelled is None else _or_error(partial(hdf5.read_whole, where, labelled))
        return rows, classes, None if further is None or columns else hdf5.read_whole(where, further)
    with _one_line_errors(where):
        loaded = np.load(where, mmap_mode="r", allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded, None, None
    with loaded:
        named, labelled, further = _chosen(where, list(loaded), names, also or columns)
        found, labels = _array(loaded, named, where), None
        if labelled is not None:
            labels = _or_error(partial(_array, loaded, labelled, where))
        more = None if further is None else _array(loaded, further, where)
    if not columns or more is None:
        return found, labels, more
    if found.shape[:-1] != more.shape[:-1]:
        raise ValueError(f"{where}: {further} {list(more.shape)} does not fit {named} {list(found.shape)}")
    return np.concatenate([found, more], axis=-1), labels, None


def _chosen(
    where: str, keys: Sequence[str], names: Sequence[str], also: Sequence[str]
) -> tuple[str, str | None, str | None]:
    try:
        return choose_keys(keys, names, also)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _array(archive: NpzFile, key: str, where: str) -> Array:
    with _one_line_errors(where):
        return unpack(archive, key, where)


def _or_error(work: Callable[[], Labels]) -> Labels:
    try:
        return work()
    except ValueError as error:
        return ValueError(f"{error} (labels, which pretraining does not need)")


def unpack(archive: NpzFile, key: str, where: str) -> Array:
    """Return an array of an .npz file. Raises ValueError for one that is truncated or a zip bomb.

    Memory is taken by the array's header. An array may be larger than one sample (see ``data.limits``), but not also a
    hundred times as large as its compressed bytes: no measured data is.
    """
    members = archive.zip.infolist() if archive.zip else []
    member = next((each for each in members if each.filename in (key, f"{key}.npy")), None)
    if archive.zip and member:
        size = _header_size(archive.zip, member)
        if size > member.file_size:
            raise ValueError(f"truncated: the array {key} of {size} bytes is stored in {member.file_size}")
        if size > 100 * member.compress_size:
            check_decoded(where, size, f"the array {key}, from {member.compress_size} bytes")
    array = archive[key]
    if not isinstance(array, np.ndarray):  # an archive may contain any file
        raise ValueError(f"{key} is not an array")
    return array


def _header_size(archive: ZipFile, member: ZipInfo) -> int:
    """Return the bytes of an array by its header; 0 for another file."""
    with archive.open(member) as file:
        if not file.read(6).startswith(np.lib.format.MAGIC_PREFIX):
            return 0
        file.seek(0)
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    return math.prod(shape) * dtype.itemsize


def choose_keys(
    keys: Sequence[str], names: Sequence[str], also: Sequence[str] = ()
) -> tuple[str, str | None, str | None]:
    """Return the names of the samples, of their labels, and of an array named in ``also`` among those of a file.

    The samples are the only further array, or else the first of ``names`` that exists. Case is ignored; of two names
    that differ in case only, the lower-case name is taken. Raises ValueError if no name can be chosen.
    """
    known = {key.lower(): key for key in sorted(keys, key=str.islower)}
    labels, other = (next((known[name] for name in some if name in known), None) for some in (LABELS, also))
    left = [key for key in keys if key not in (labels, other)]
    samples = left[0] if len(left) == 1 else next((known[name] for name in names if name in known), None)
    if samples is None:
        raise ValueError(f"holds {', '.join(keys) or 'no arrays'}; call the samples {names[0]!r}")
    return samples, labels, other


@contextmanager
def _one_line_errors(where: str) -> Iterator[None]:
    """Convert any error of numpy into a ValueError of one line."""
    try:
        yield
    except BadSampleError:
        raise
    except Exception as error:  # noqa: BLE001  # on broken files numpy, zipfile and tokenize raise nearly anything
        reason = short_reason(error)
        reason = reason[0].lower() + reason[1:]
        if "bject arrays" in reason or "Python objects" in reason:
            reason = "holds pickled Python objects, which are never loaded"
        elif "pickled" in reason:  # numpy's message for any file in an unknown format
            reason = "not an .npy or .npz file, or a pickle, which is never loaded"
        raise ValueError(f"{where}: {reason}; save plain numbers with numpy.save or numpy.savez") from None


def check_labels(labels: Labels, count: int, where: str) -> Labels:
    """Return labels as [N], from [N] or [N 1] (as in MedMNIST). Raises ValueError for other shapes and for NaN."""
    if labels is None or isinstance(labels, ValueError):
        return labels
    if labels.size != count or labels.shape[:1] != (count,):
        raise ValueError(f"{where}: labels of shape {list(labels.shape)} for {count} samples; save one for each")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise ValueError(f"{where}: labels hold NaN or infinite values; save a number or a name for each sample")
    return labels.reshape(count)


def label_text(labels: Labels, index: int) -> str | None:
    """Return the class of a sample as text. A whole number is written without a fraction.

    Raises ValueError for labels that cannot be used.
    """
    if labels is None:
        return None
    if isinstance(labels, ValueError):
        raise ValueError(*labels.args)
    value = labels[index].item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
