"""Lines of x, y, z and further columns: .xyz, and .pts, whose first line counts the points."""

import itertools

import numpy as np

from maskkit.modalities.points.cloud import Cloud
from maskkit.modalities.points.formats.columns import cloud_of_columns


def read(path: str) -> Cloud:
    """Read numbers parted by blanks or commas; ``cloud_of_columns`` says what the further columns are.

    A first line of one number counts the points. What follows # is a comment, in whatever encoding.
    """
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = ((number, line.partition("#")[0].strip()) for number, line in enumerate(file, start=1))
        heads = list(itertools.islice(((number, text) for number, text in lines if text), 2))
        comma = "," if heads and "," in heads[-1][1] else None
        skip = heads[0][0] if heads and heads[0][1].isdigit() else 0
        file.seek(0)
        return cloud_of_columns(np.loadtxt(file, delimiter=comma, comments="#", skiprows=skip, ndmin=2))
