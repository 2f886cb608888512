"""Arrays as .npy, .npz and HDF5 files."""

import io
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray


def npy(array: NDArray[np.generic]) -> bytes:
    """Return an .npy file of an array."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(*, compressed: bool = False, **arrays: NDArray[np.generic]) -> bytes:
    """Return an .npz file of named arrays."""
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, **arrays)
    return file.getvalue()


def hdf5(name: str, *, packed: bool = False, **arrays: NDArray[np.generic]) -> dict[str, bytes]:
    """Return an HDF5 file by its name, with named arrays as they are or packed by gzip; nothing without h5py."""
    if not find_spec("h5py"):
        return {}
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as opened:
        for key, array in arrays.items():
            options = {"chunks": (1, *array.shape[1:]), "compression": "gzip", "shuffle": True} if packed else {}
            opened.create_dataset(key, data=array, **options)
    return {name: file.getvalue()}
