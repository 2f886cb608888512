"""One cloud [P C] in an .npy or .npz file."""

import numpy as np

from maskkit.data.arrays import choose_keys, unpack
from maskkit.data.limits import check_decoded
from maskkit.modalities.points.cloud import Cloud
from maskkit.modalities.points.formats.columns import cloud_of_columns

KEYS = ("points", "xyz", "pc", "pos", "data", "x", "arr_0")
"""The names under which a file of several arrays may hold its points, in the order of preference."""
NORMALS = ("normals", "normal")
"""The names of an array of normals beside them: "normal" in ModelNet40's HDF5 files."""


def read(path: str) -> Cloud:
    """Read a table of points; ``cloud_of_columns`` says what the columns after x, y and z are. Pickles are refused."""
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error):
            raise ValueError("holds Python objects, which are never loaded (allow_pickle is False)") from None
        raise
    if not isinstance(loaded, np.ndarray):
        with loaded:
            loaded = unpack(loaded, choose_keys(list(loaded), KEYS)[0], path)
    check_decoded(path, loaded.size * 8, " x ".join(map(str, loaded.shape)))
    return cloud_of_columns(np.asarray(loaded))
