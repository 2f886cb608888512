"""Arrays as .npy and .npz files."""

import io

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
