"""Where point clouds come from, and how they are changed."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.readers import WIDTHS, Feature, open_files
from maskkit.modalities.points.transforms import eval_transform, train_transform

from maskkit.data.mixture import open_mixture
from maskkit.data.source import Source

Rotate = Literal["none", "x", "y", "z", "all"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the clouds are and how they are changed."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder (searched through), glob, list file, array or tar shards, or several: 0.7*path/a + 0.3*path/b."""
    features: tuple[Feature, ...] = ()
    """Numbers a point beside x, y and z, in this order: normals, colours, intensity."""
    augment: bool = True
    """Stretch by 2/3 to 3/2 and shift by up to 0.2 along each axis; normals follow the stretch."""
    rotate: Rotate = "none"
    """Turn at random about an axis, or every way."""

    def at(self, root: str) -> "Data":
        """Return the same settings for other files."""
        return replace(self, root=root)

    def open(self, tokenizer: Groups, *, train: bool) -> Source:
        """Return the clouds, changed at random or only normalised."""
        return open_clouds(
            self.root, tokenizer, train=train, features=self.features, augment=self.augment, rotate=self.rotate
        )


def open_clouds(
    where: str | Path,
    tokenizer: Groups,
    *,
    train: bool = False,
    features: tuple[Feature, ...] | None = None,
    augment: bool = True,
    rotate: Rotate = "none",
) -> Source:
    """Open clouds with as many points, and as many features, as a tokenizer takes; missing points are NaN, which pads.

    Without ``features`` they follow from the number: 3 are normals, 1 intensity, 6 normals and colours, 7 all.
    """
    if features is None:
        known: dict[int, tuple[Feature, ...]] = {0: (), 1: ("intensity",), 3: ("normals",), 6: ("normals", "colours")}
        features = known.get(tokenizer.features, ("normals", "colours", "intensity"))
    width = sum(WIDTHS[name] for name in features)
    if width != tokenizer.features:
        raise ValueError(
            f"features {', '.join(features) or 'none'} are {width} numbers a point, "
            f"the model takes {tokenizer.features}"
        )
    transform = eval_transform(tokenizer.num_points)
    if train:
        normals_at = _column(features, "normals")
        transform = train_transform(tokenizer.num_points, augment=augment, rotate=rotate, normals_at=normals_at)

    def open_one(place: str) -> Source:
        return open_files(place, transform=transform, features=features or (), mesh_points=tokenizer.num_points)

    return open_mixture(os.fspath(where), open_one)


def _column(features: tuple[Feature, ...], name: Feature) -> int | None:
    """Return where a feature starts in a row of x, y, z and features."""
    if name not in features:
        return None
    return 3 + sum(WIDTHS[before] for before in features[: features.index(name)])
