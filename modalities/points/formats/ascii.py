"""Numbers in ASCII files."""

import re
import warnings

import numpy as np

from maskkit.modalities.points.cloud import Array

# How Windows' C library writes NaN and infinity, before 2015 and since.
_WINDOWS_NAN = re.compile(r"[-+]?(?:nan\(\w+\)|1\.#(?:QNAN|SNAN|IND|INF)0*)", re.IGNORECASE)


def plain_nan(text: str) -> str:
    """Return a text with "nan" in place of all other notations of NaN and of Windows' infinity.

    >>> plain_nan("1 -nan(ind) 1.#QNAN")
    '1 nan nan'
    """
    return _WINDOWS_NAN.sub("nan", text) if "(" in text or "#" in text else text


def parse_numbers(content: bytes, wanted: int) -> Array:
    """Return the first ``wanted`` numbers, which white space parts. Raises ValueError for fewer, or for other text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # numpy 1 stops at other text with this; numpy 2.4 raises
        # Without ``count``: given more than there are, numpy returns memory that it has not set.
        values = np.fromstring(plain_nan(content.decode("ascii")), sep=" ")
    if len(values) < wanted:
        raise ValueError(f"truncated, or not only numbers: {len(values)} of {wanted} can be read")
    return values[:wanted]
