"""Point clouds ``[B P 3]``, or ``[B P 3+F]`` with features: readers, presets, pictures, and settings."""

from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.presets import point_mae
from maskkit.modalities.points.sample import NAME, sample, shape, tiny

__all__ = ["NAME", "Groups", "point_mae", "sample", "shape", "tiny"]
