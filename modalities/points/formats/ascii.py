"""Numbers in ASCII files."""

import warnings

import numpy as np

from maskkit.modalities.points.cloud import Array


def parse_numbers(content: bytes, wanted: int) -> Array:
    """Return the first ``wanted`` numbers, which white space parts. Raises ValueError for fewer, or for other text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy 1 stops at other text with this; numpy 2.4 raises
        # Without ``count``: given more than there are, numpy returns memory that it has not set.
        values = np.fromstring(content.decode("ascii"), sep=" ")
    if len(values) < wanted:
        raise ValueError(f"truncated, or not only numbers: {len(values)} of {wanted} can be read")
    return values[:wanted]
