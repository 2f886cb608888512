"""Samples in .npy and .npz files: which array holds them, and one line for what cannot be loaded."""

import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS = ("labels", "label", "y", "targets", "target", "y_train", "train_labels")

Array = NDArray[Any]


def load_arrays(
    where: str, names: Sequence[str], *, also: Sequence[str] = ()
) -> tuple[Array, Array | None, Array | None]:
    """Return the samples in a file, their labels, and the array that goes by one of ``also``; None for what is absent.

    Samples are the first array that goes by one of ``names``, in whatever case, or the only one that is left. An .npy
    is mapped into memory and not read; of an .npz only what is returned is unpacked. Pickles run code and are refused.
    Raises ValueError.
    """
    with _one_line_errors(where):
        loaded = np.load(where, mmap_mode="r", allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded, None, None
    with loaded:
        keys = {key.lower(): key for key in loaded}
        labels, other = (next((keys.pop(name) for name in some if name in keys), None) for some in (LABELS, also))
        left = next(iter(keys.values())) if len(keys) == 1 else None
        samples = next((keys[name] for name in names if name in keys), left)
        if samples is None:
            raise ValueError(f"{where}: holds {', '.join(loaded) or 'no arrays'}; call the samples {names[0]!r}")
        with _one_line_errors(where):
            return loaded[samples], *(None if key is None else loaded[key] for key in (labels, other))


@contextmanager
def _one_line_errors(where: str) -> Iterator[None]:
    """Say of any file that numpy cannot read what is wrong with it."""
    try:
        yield
    except (OSError, EOFError, ValueError, TypeError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        reason = f"{reason[0].lower()}{reason[1:]}".rstrip(".")
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
