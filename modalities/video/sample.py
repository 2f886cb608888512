"""A built-in sample and a small model for it, for tests and examples."""

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from torch import Tensor

from maskkit.modalities.video.videomae import videomae
from maskkit.model import MaskedModel

DIRECTIONS = ((0, 1), (0, -1), (1, 0), (-1, 0))  # rows, columns a frame


def sample(count: int = 8) -> UInt8[Tensor, "B 1 8 16 16"]:
    """Return ``count`` clips of hand-written digits that move, 0 to 255."""
    return torch.from_numpy(moving_digits(count, frames=8, size=16)[0])


def moving_digits(
    count: int, *, frames: int = 16, size: int = 24, seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return clips ``[count 1 frames size size]`` of scikit-learn's digits that move, and their directions.

    A digit moves a pixel a frame; directions 0 to 3 are right, left, down, up. What leaves the picture comes in at the
    other side, and a digit starts anywhere, so a single frame says nothing of the direction.
    """
    rng = np.random.default_rng(seed)
    digits = (load_digits().images * (255 / 16)).round().astype(np.uint8)  # stored as 0 to 16, 8 x 8 pixels
    if size < digits.shape[1]:
        raise ValueError(f"size must be at least {digits.shape[1]} pixels, got {size}")
    labels = rng.integers(len(DIRECTIONS), size=count)
    clips = np.zeros((count, 1, frames, size, size), dtype=np.uint8)
    for number, label in enumerate(labels):
        still = np.zeros((size, size), dtype=np.uint8)
        still[:8, :8] = digits[rng.integers(len(digits))]
        start = rng.integers(size, size=2)
        for frame in range(frames):
            shift = start + frame * np.array(DIRECTIONS[label])
            clips[number, 0, frame] = np.roll(still, (int(shift[0]), int(shift[1])), axis=(0, 1))
    return clips, labels


def tiny() -> MaskedModel:
    """Return a model small enough to train on the sample in a test."""
    return videomae("tiny", frames=8, image_size=16, patch_size=4, channels=1, mask_ratio=0.75)
