"""Which features the columns of a table are, by their names or, without names, by their values."""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskkit.modalities.points.cloud import Array, Cloud, scale_integers

# Names of columns in lower case without signs, as CloudCompare, MeshLab, PCL, PDAL and spreadsheets write them.
_NAMES = {
    "x": ("x", "posx", "coordx", "easting"),
    "y": ("y", "posy", "coordy", "northing"),
    "z": ("z", "posz", "coordz", "height", "elevation"),
    "nx": ("nx", "normalx"),
    "ny": ("ny", "normaly"),
    "nz": ("nz", "normalz"),
    "red": ("red", "r", "rf", "diffusered"),
    "green": ("green", "g", "gf", "diffusegreen"),
    "blue": ("blue", "b", "bf", "diffuseblue"),
    "intensity": ("intensity", "i", "reflectance", "reflectivity", "scalarintensity", "scalarfieldintensity"),
}
_FEATURES = {"normals": ("nx", "ny", "nz"), "colours": ("red", "green", "blue"), "intensity": ("intensity",)}


def known_columns(names: Sequence[str]) -> dict[str, int]:
    """Return the places of the columns x, y, z, nx, ny, nz, red, green, blue and intensity; of equals the first.

    >>> known_columns(["X", "Y", "Z", "scalar_Intensity"])
    {'x': 0, 'y': 1, 'z': 2, 'intensity': 3}
    """
    plain = [re.sub(r"[^a-z]", "", name.lower()) for name in names]
    found = {name: [alias for alias in aliases if alias in plain] for name, aliases in _NAMES.items()}
    return {name: plain.index(aliases[0]) for name, aliases in found.items() if aliases}


def cloud_of_names(names: Sequence[str], columns: Sequence[NDArray[np.generic]]) -> Cloud:
    """Return the cloud in columns [P] by the names that a file has for them. Raises ValueError without x, y and z."""
    found = {name: columns[place] for name, place in known_columns(names).items()}
    if not {"x", "y", "z"} <= found.keys():
        raise ValueError("its points have no x, y and z")
    features: dict[str, Array] = {}
    for feature, parts in _FEATURES.items():
        if set(parts) <= found.keys():
            values = np.stack([found[part] for part in parts], axis=1)
            features[feature] = scale_integers(values) if feature == "colours" else values.astype(np.float64)
    return Cloud(np.stack([found[axis].astype(np.float64) for axis in "xyz"], axis=1), features)


def cloud_of_columns(table: NDArray[np.generic]) -> Cloud:
    """Return the cloud in a table [P C] whose first three columns are x, y and z. Raises ValueError for another shape.

    4 columns: the fourth is intensity. 7: intensity, then colours (Leica's .pts). 6 and more: three normals, where
    nearly all have a length of about 1, else colours, where all lie in 0..255 or 0..1. Other columns are left out.
    Intensity is as the file has it. A structured array [P] has names for its columns.
    """
    if table.ndim == 1 and table.dtype.names:
        fields = {name: np.asarray(table[name]) for name in table.dtype.names}  # type: ignore[call-overload]  # named
        plain = {name: values for name, values in fields.items() if values.ndim == 1}
        return cloud_of_names(list(plain), list(plain.values()))
    if table.ndim == 2 and 3 <= len(table) <= 9 < table.shape[1]:
        raise ValueError(f"an array {list(table.shape)} has a column for each point; transpose it to [points 3]")
    if table.ndim != 2 or table.shape[1] < 3 or table.dtype.kind not in "iuf":
        raise ValueError(f"an array {list(table.shape)} of {table.dtype} is no cloud; save [points 3]")
    values = table.astype(np.float64)
    count = values.shape[1]
    features = {"intensity": values[:, 3:4]} if count in (4, 7) else {}
    three = values[:, 4:7] if count == 7 else values[:, 3:6]
    known = three[np.isfinite(three).all(axis=1)]
    if count >= 6 and len(known):
        unit = np.abs(np.linalg.norm(known, axis=1) - 1) < 0.05  # normals written with two digits
        if count != 7 and unit.mean() > 0.95:
            features["normals"] = three
        elif known.min() >= 0 and known.max() <= 255:
            features["colours"] = scale_integers(three)
    return Cloud(values[:, :3], features)
