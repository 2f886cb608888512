"""Samples in .npy and .npz files: which array holds them, and one line for what cannot be loaded."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskkit.files import short_reason

LABELS = ("labels", "label", "y", "targets", "target", "y_train", "train_labels")

Array = NDArray[Any]


def load_arrays(
    where: str, names: Sequence[str], *, also: Sequence[str] = ()
) -> tuple[Array, Array | None, Array | None]:
    """Return the samples in a file, their labels, and the array that goes by one of ``also``; None for what is absent.

    See ``choose_keys`` for how they are known. An .npy is mapped into memory and not read; of an .npz only what is
    returned is unpacked. Pickles run code and are refused. Raises ValueError.
    """
    with _one_line_errors(where):
        loaded = np.load(where, mmap_mode="r", allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded, None, None
    with loaded:
        try:
            keys = choose_keys(list(loaded), names, also)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        with _one_line_errors(where):
            samples, labels, other = (None if key is None else _array(loaded, key) for key in keys)
    assert samples is not None
    return samples, labels, other


def _array(loaded: Mapping[str, Any], key: str) -> Array:
    array = loaded[key]
    if not isinstance(array, np.ndarray):  # an archive may hold any file
        raise ValueError(f"{key} is not an array")
    return array


def choose_keys(
    keys: Sequence[str], names: Sequence[str], also: Sequence[str] = ()
) -> tuple[str, str | None, str | None]:
    """Choose the samples, their labels and what goes by one of ``also`` among the names in an .npz.

    Samples are the first that goes by one of ``names``, in whatever case (lower case wins), or the only one that is
    left when the other two are taken out. Raises ValueError where there is no telling.
    """
    known = {key.lower(): key for key in sorted(keys, key=str.islower)}
    labels, other = (next((known[name] for name in some if name in known), None) for some in (LABELS, also))
    left = [key for key in keys if key not in (labels, other)]
    samples = left[0] if len(left) == 1 else next((known[name] for name in names if name in known), None)
    if samples is None:
        raise ValueError(f"holds {', '.join(keys) or 'no arrays'}; call the samples {names[0]!r}")
    return samples, labels, other


@contextmanager
def _one_line_errors(where: str) -> Iterator[None]:
    """Say of any file that numpy cannot read what is wrong with it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # on broken files numpy, zipfile and tokenize raise nearly anything
        reason = short_reason(error)
        reason = reason[0].lower() + reason[1:]
        if "bject arrays" in reason or "Python objects" in reason:
            reason = "holds pickled Python objects, which are never loaded"
        elif "pickled" in reason:  # what numpy says of any file that does not start as its own do
            reason = "not an .npy or .npz file, or a pickle, which is never loaded"
        raise ValueError(f"{where}: {reason}; save plain numbers with numpy.save or numpy.savez") from None


def check_labels(labels: Array | None, count: int, where: str) -> Array | None:
    """Return one label a sample, [N] from [N] or [N 1] (as MedMNIST has them). Raises ValueError for other shapes."""
    if labels is not None and (labels.size != count or labels.shape[:1] != (count,)):
        raise ValueError(f"{where}: labels of shape {list(labels.shape)} for {count} samples; save one for each")
    return None if labels is None else labels.reshape(count)


def label_text(labels: Array | None, index: int) -> str | None:
    """Return the class of a sample; a whole number is written without a fraction."""
    if labels is None:
        return None
    value = labels[index].item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)
