"""A built-in sample and a small model for it, for tests and examples."""

import numpy as np
import torch
from jaxtyping import UInt8
from sklearn.datasets import load_digits
from torch import Tensor

from maskkit.modalities.image.mae import mae
from maskkit.model import MaskedModel


def sample(count: int = 16) -> UInt8[Tensor, "B 1 8 8"]:
    """Return the first ``count`` of scikit-learn's 1,797 hand-written digits, 0 to 255."""
    return torch.from_numpy(digits()[0][:count])


def digits() -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return scikit-learn's digits as uint8 ``[1797 1 8 8]``, and the digit that each shows."""
    data = load_digits()
    pixels = (data.images * (255 / 16)).round().astype(np.uint8)  # stored as 0 to 16
    return pixels[:, None], data.target


def tiny() -> MaskedModel:
    """Return a model small enough to train on the sample in a test."""
    return mae("tiny", image_size=8, patch_size=2, channels=1)
