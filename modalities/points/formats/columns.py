"""Which features the unnamed columns of a table are."""

import numpy as np
from numpy.typing import NDArray

from maskkit.modalities.points.cloud import Cloud, scale_integers


def cloud_of_columns(table: NDArray[np.generic]) -> Cloud:
    """Return the cloud in a table [P C] whose first three columns are x, y and z. Raises ValueError for another shape.

    4 columns: the fourth is intensity. 7: intensity, then colours (Leica's .pts). 6 and more: three normals, where
    nearly all have a length of about 1, else colours, where all lie in 0..255 or 0..1. Other columns are left out.
    Intensity is as the file has it.
    """
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
