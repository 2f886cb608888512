"""One cloud [P C] in an .npy or .npz file."""

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from maskkit.data.arrays import choose_keys, unpack
from maskkit.data.limits import check_decoded
from maskkit.modalities.points.cloud import WIDTHS, Cloud, scale_integers
from maskkit.modalities.points.formats.columns import cloud_of_columns

KEYS = ("points", "xyz", "pc", "pos", "data", "x", "arr_0")
"""The names under which a file of several arrays may hold its points, in the order of preference."""
NORMALS = ("normals", "normal")
"""The names of an array of normals beside them: "normal" in ModelNet40's HDF5 files."""
_FEATURES = {
    "normals": NORMALS,
    "colours": ("colours", "colors", "colour", "color", "rgb"),
    "intensity": ("intensity", "intensities", "reflectance"),
}


def read(path: str) -> Cloud:
    """Read a table of points; ``cloud_of_columns`` says what the columns after x, y and z are. Pickles are refused.

    Features may stand in arrays of their own in an .npz file.
    """
    try:
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "Python objects" in str(error):
            raise ValueError("holds Python objects, which are never loaded (allow_pickle is False)") from None
        raise
    if not isinstance(loaded, np.ndarray):
        with loaded:
            cloud = _table(unpack(loaded, choose_keys(list(loaded), KEYS)[0], path), path)
            return _with_features(cloud, loaded, path)
    return _table(loaded, path)


def _table(loaded: NDArray[np.generic], path: str) -> Cloud:
    check_decoded(path, loaded.size * 8, " x ".join(map(str, loaded.shape)))
    return cloud_of_columns(np.asarray(loaded))


def _with_features(cloud: Cloud, archive: NpzFile, path: str) -> Cloud:
    """Return a cloud with the features [P F] that stand in arrays of their own."""
    features = dict(cloud.features)
    for feature, names in _FEATURES.items():
        key = next((key for key in archive if key.lower() in names), None)
        values = None if key is None else unpack(archive, key, path)
        if values is not None and values.dtype.kind in "iuf" and len(values) == len(cloud.xyz):
            columns = values.reshape(len(values), -1)
            if columns.shape[1] >= WIDTHS[feature]:
                columns = columns[:, : WIDTHS[feature]]
                features[feature] = scale_integers(columns) if feature == "colours" else columns.astype(np.float64)
    return Cloud(cloud.xyz, features)
