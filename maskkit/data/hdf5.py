"""HDF5 files (.h5, .hdf5): data sets that are read row by row. h5py reads them; ``maskkit[hdf5]`` installs it."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from maskkit.data.limits import check_decoded, seconds_limit
from maskkit.files import BadSampleError, check_readable, short_reason

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.generic]

SUFFIXES = (".h5", ".hdf5")

CHUNK_CACHE = 2**26  # bytes of unpacked chunks that are kept per data set, so that neighbours are not unpacked again
OPEN_FILES = 8  # per process
_FILTERS = (1, 2, 3, 32000)  # deflate, shuffle, fletcher32, LZF; damaged settings of others make HDF5 crash
_SHUFFLE, _CHECKSUM = 2, 4  # code; bytes of fletcher32's sum
MOST_PACKED = 2000  # deflate packs zeros into a thousandth; a header that promises more promises what is not there


def is_hdf5(path: str) -> bool:
    """Return whether a file is an HDF5 file, by its suffix."""
    return path.lower().endswith(SUFFIXES)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Rows [N ...] of a data set, or of several joined along their last axis. A row is read when it is indexed.

    Each process opens the file for itself, because a forked one would share the position of its parent. Raises
    ValueError for data sets that do not hold plain numbers in this file, or whose shapes do not fit each other.
    """

    where: str
    keys: tuple[str, ...]
    shape: tuple[int, ...] = field(init=False)
    dtype: np.dtype[np.generic] = field(init=False)

    def __post_init__(self) -> None:
        with _one_line_errors(self.where):
            found = [_numbers(_opened(self.where, os.getpid()), key) for key in self.keys]
            shapes = [tuple(each.shape) for each in found]
            if len(found) > 1 and (not shapes[0] or len({shape[:-1] for shape in shapes}) > 1):
                named = ", ".join(f"{key} {list(shape)}" for key, shape in zip(self.keys, shapes, strict=True))
                raise ValueError(f"the shapes of {named} do not fit each other")
            dtype = np.result_type(*(each.dtype for each in found))
        last = (sum(shape[-1] for shape in shapes),) if shapes[0] else ()
        object.__setattr__(self, "shape", (*shapes[0][:-1], *last))
        object.__setattr__(self, "dtype", dtype)
        check_decoded(self.where, int(np.prod(self.shape[1:], dtype=object)) * dtype.itemsize, "one row")

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 0

    def __getitem__(self, index: int) -> Array:
        """Read a row [...]. Raises BadSampleError."""
        name = f"{self.where}[{index}]"
        try:
            file = _opened(self.where, os.getpid())
            rows = [np.asarray(file[key][index]) for key in self.keys]
        except Exception as error:  # h5py raises OSError, RuntimeError, ValueError and KeyError for damaged files
            raise BadSampleError(name, f"cannot be read: {short_reason(error)}") from None
        return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=-1)


def data_sets(where: str) -> list[str]:
    """Return the names of the data sets, and of the links, in the root group of a file. Raises ValueError."""
    _try(where)
    with _one_line_errors(where):
        import h5py

        file = _opened(where, os.getpid())
        hard = {name: isinstance(file.get(name, getlink=True), h5py.HardLink) for name in file}
        return [name for name in file if not hard[name] or file.get(name, getclass=True) is h5py.Dataset]


def read_whole(where: str, key: str) -> Array:
    """Read a small data set, such as labels, whole. Text of any kind becomes ``str``. Raises ValueError."""
    with _one_line_errors(where):
        import h5py

        file = _opened(where, os.getpid())
        found = _stored(file, key)
        check_decoded(where, found.size * max(found.dtype.itemsize, 1), key)
        if h5py.check_string_dtype(found.dtype) is not None:
            return np.asarray(found.asstr(errors="replace")[()]).astype(str)
        return np.asarray(_numbers(file, key)[()])


def _try(where: str) -> None:
    """Open a file in another process first, because HDF5 may crash on a damaged file or never return."""
    if importlib.util.find_spec("h5py") is None:
        raise ImportError(f"{where}: HDF5 files are read by h5py; pip install 'maskkit[hdf5]'")
    check_readable(where)
    limit = seconds_limit() / 2  # the file is opened again after it
    command = [sys.executable, "-c", f"from {__name__} import touch; touch({where!r})"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"{where}: damaged: HDF5 does not open it in {limit:g} seconds") from None
    if done.returncode < 0:
        raise ValueError(f"{where}: damaged: HDF5 crashes on it (signal {-done.returncode})")


def touch(where: str) -> None:
    """Open every data set of a file and read its first row. Errors that Python sees are left to who opens it next."""
    with suppress(Exception):
        file = _opened(where, os.getpid())
        for key in file:
            with suppress(Exception):
                _stored(file, key)[:1]


@lru_cache(maxsize=OPEN_FILES)
def _opened(where: str, process: int) -> "h5py.File":
    """Open a file for a process. ``locking`` is off: a lock is refused on read-only and on some network disks."""
    import h5py

    return h5py.File(where, "r", locking=False, rdcc_nbytes=CHUNK_CACHE)


def _stored(file: "h5py.File", key: str) -> "h5py.Dataset":
    """Return a data set whose values lie in this very file. Links could name any file of the machine."""
    import h5py

    if not isinstance(file.get(key, getlink=True), h5py.HardLink):
        raise ValueError(f"{key} is a link, and links are not followed; store the data set itself")
    found = file[key]
    if found.shape is None:
        raise ValueError(f"{key} is empty")
    if found.is_virtual or found.external:
        raise ValueError(f"{key} lies in other files, which are not opened; store the values themselves: h5repack")
    if found.chunks is not None:
        _check_chunks(found, key, os.path.getsize(file.filename))
    size, stored = found.size * found.dtype.itemsize, found.id.get_storage_size()
    if size > MOST_PACKED * stored:
        raise ValueError(f"{key} claims {list(found.shape)}, {size} bytes, of which only {stored} are stored")
    return found


def _check_chunks(found: "h5py.Dataset", key: str, file_size: int) -> None:
    """Check the filters and the index of the chunks: HDF5 reads and writes beyond its memory where they are damaged."""
    settings = found.id.get_create_plist()
    for number in range(settings.get_nfilters()):
        code, _, values, name = settings.get_filter(number)
        if code not in _FILTERS or (code == _SHUFFLE and values != (found.dtype.itemsize,)):
            packed = name.decode(errors="replace").rstrip("\0") or str(code)
            raise ValueError(f"{key} is packed by {packed}, which is not read; repack it: h5repack -f GZIP=4 IN OUT")
    whole = int(np.prod(found.chunks, dtype=object)) * found.dtype.itemsize
    check_decoded(key, whole, "one chunk")
    least = 1 + _CHECKSUM if settings.get_nfilters() else whole
    places = set[tuple[int, ...]]()

    def check(chunk: "h5py.h5d.StoreInfo") -> None:
        inside = chunk.byte_offset is not None and 0 < chunk.byte_offset <= file_size - chunk.size
        # The mask tells that a filter was left out, which is done where it makes a chunk no smaller.
        if not inside or chunk.size < (whole if chunk.filter_mask else least) or chunk.chunk_offset in places:
            raise ValueError(f"the index of {key} is damaged")
        places.add(chunk.chunk_offset)

    found.id.chunk_iter(check)


def _numbers(file: "h5py.File", key: str) -> "h5py.Dataset":
    found = _stored(file, key)
    if found.dtype.kind not in "biuf":
        raise ValueError(f"{key} holds {found.dtype}, not plain numbers")
    return found


@contextmanager
def _one_line_errors(where: str) -> Iterator[None]:
    """Convert any error of h5py into a ValueError of one line that names the file."""
    try:
        yield
    except (BadSampleError, ImportError):
        raise
    except Exception as error:  # noqa: BLE001  # on broken files h5py raises OSError, RuntimeError, KeyError and others
        reason = short_reason(error)
        if "signature not found" in reason:
            reason = "not an HDF5 file"
        elif "truncated file" in reason:
            reason = "truncated: its end is missing"
        raise ValueError(f"{where}: {reason}") from None
