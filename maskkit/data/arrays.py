"""Samples in .npy and .npz files: a source, the choice of arrays by name, and errors in one line."""

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
from maskkit.data.limits import check_decoded
from maskkit.data.source import Key, random_order, spread_evenly
from maskkit.files import BadSampleError, short_reason

LABELS = ("labels", "label", "y", "targets", "target", "y_train", "train_labels")

Array = NDArray[np.generic]


def is_array_file(path: str) -> bool:
    """Return whether a file is an .npy or .npz file, by its suffix."""
    return path.lower().endswith((".npy", ".npz"))


class Row(Protocol):
    """Converts a row of an array into a sample. It must be picklable, for worker processes."""

    def __call__(self, stored: Array, path: str, rng: torch.Generator) -> Sample:
        """Return the sample of a stored row. Raises BadSampleError with ``path`` as its name."""


R = TypeVar("R", bound=Row)


def _as_stored(array: Array, where: str) -> Array:
    return array


@dataclass(frozen=True, kw_only=True, eq=False)
class ArraySource(Generic[R]):
    """A source of the rows of one ``.npy`` (memory-mapped) or ``.npz`` (loaded once) file.

    ``names`` are possible names of the samples in an .npz, ``also`` those of a second array; see ``choose_keys``.
    ``row`` converts a row into a sample. ``arrange`` returns a view of the whole array in the axes of the modality, and
    raises ValueError for arrays that do not fit. A spawned process opens the file again, because pickling would copy
    the whole memory map. Raises ValueError for files that cannot be loaded.
    """

    where: str
    names: tuple[str, ...]
    row: R
    arrange: Callable[[Array, str], Array] = _as_stored
    also: tuple[str, ...] = ()
    loaded: InitVar[tuple[Array, Array | None] | None] = None
    """Samples and labels, if the file was loaded before."""
    array: Array = field(init=False, repr=False)
    """Samples as ``arrange`` views them, [N ...]."""
    _labels: Array | None = field(init=False, repr=False)
    _mapped: int = field(init=False, repr=False)
    """Bytes of the file that are mapped into memory; 0 for a file that was loaded."""

    def __post_init__(self, loaded: tuple[Array, Array | None] | None) -> None:
        samples, labels = loaded or load_arrays(self.where, self.names, also=self.also)[:2]
        object.__setattr__(self, "array", self.arrange(samples, self.where))
        object.__setattr__(self, "_labels", check_labels(labels, len(self.array), self.where))
        object.__setattr__(self, "_mapped", samples.offset + samples.nbytes if isinstance(samples, np.memmap) else 0)

    def __reduce__(self) -> tuple[object, ...]:
        fields = {name: getattr(self, name) for name in ("where", "names", "row", "arrange", "also")}
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
        """Return the keys of an epoch [n 3] in a random order. Raises ValueError if the file was truncated."""
        if reason := self._truncated():
            raise ValueError(f"{self.where}: {reason}; write it whole, under another name, and rename it")
        return random_order(len(self), seed, epoch)

    def _truncated(self) -> str:
        """Say whether a mapped file is shorter than it was: to read beyond its end would end the process."""
        try:
            size = os.stat(self.where).st_size if self._mapped else 0
        except OSError:  # a deleted file can still be read
            return ""
        return f"truncated since it was opened: {size} of {self._mapped} bytes" if size < self._mapped else ""

    def read(self, key: Key, rng: torch.Generator) -> Sample:
        """Return the sample of a row. Raises BadSampleError."""
        if reason := self._truncated():
            raise BadSampleError(self.path(key.index), reason)
        return self.row(self.array[key.index], self.path(key.index), rng)

    def path(self, index: int) -> str:
        """Return the name of a row, such as ``digits.npz[7]``."""
        return f"{self.where}[{index}]"

    def label(self, index: int) -> str | None:
        """Return the class of a row, or None if the file has no labels."""
        return label_text(self._labels, index)

    def spread(self, count: int) -> list[int]:
        """Return up to ``count`` evenly spread indices, for statistics of the data set."""
        return spread_evenly(len(self), count)


def load_arrays(
    where: str, names: Sequence[str], *, also: Sequence[str] = ()
) -> tuple[Array, Array | None, Array | None]:
    """Return the samples in a file, their labels, and the array named by one of ``also``; None for absent arrays.

    ``choose_keys`` selects the arrays. An .npy file is mapped into memory; of an .npz file only the returned arrays are
    unpacked. Pickles can run code and are rejected with ValueError.
    """
    with _one_line_errors(where):
        loaded = np.load(where, mmap_mode="r", allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded, None, None
    with loaded:
        try:
            keys = choose_keys(list(loaded), names, also)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        with _one_line_errors(where):
            samples, labels, other = (None if key is None else unpack(loaded, key, where) for key in keys)
    assert samples is not None
    return samples, labels, other


def unpack(archive: NpzFile, key: str, where: str) -> Array:
    """Return an array of an .npz file. Raises ValueError for one that is larger than the archive says, or a bomb.

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
    """Return the names of the samples, of their labels, and of an array named in ``also`` among those of an .npz.

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


def check_labels(labels: Array | None, count: int, where: str) -> Array | None:
    """Return labels as [N], from [N] or [N 1] (as in MedMNIST). Raises ValueError for other shapes."""
    if labels is not None and (labels.size != count or labels.shape[:1] != (count,)):
        raise ValueError(f"{where}: labels of shape {list(labels.shape)} for {count} samples; save one for each")
    return None if labels is None else labels.reshape(count)


def label_text(labels: Array | None, index: int) -> str | None:
    """Return the class of a sample as text. A whole number is written without a fraction."""
    if labels is None:
        return None
    value = labels[index].item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
