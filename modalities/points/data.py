"""Data sets of clouds and meshes: settings, and sources of one float32 tensor [P C] per sample.

N samples, P points, C = 3 + F numbers per point: x, y, z, then the features asked for.
"""

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from jaxtyping import Float
from torch import Tensor

from maskkit.data.arrays import Array, ArraySource, load_arrays
from maskkit.data.find import find_files
from maskkit.data.hdf5 import is_hdf5
from maskkit.data.joined import Arrays, find_data, open_arrays
from maskkit.data.limits import check_decoded
from maskkit.data.mixture import open_mixture
from maskkit.data.paths import Files, FileSource, Paths
from maskkit.data.samples import EvaluationSamples
from maskkit.data.source import BadSampleError, Key, Source, one_bad_sample
from maskkit.modalities.points.cloud import WIDTHS, Feature, sample_cloud
from maskkit.modalities.points.formats.columns import cloud_of_columns
from maskkit.modalities.points.formats.npy import KEYS, NORMALS
from maskkit.modalities.points.groups import Groups
from maskkit.modalities.points.reader import SUFFIXES, Backend, finite_points, read_cloud
from maskkit.modalities.points.transforms import FEWEST, eval_transform, train_transform

Transform = Callable[[Tensor, torch.Generator], Tensor]
Rotate = Literal["none", "x", "y", "z", "all"]


@dataclass(frozen=True, kw_only=True)
class Data:
    """Path of the clouds, their features, and their augmentation."""

    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder (searched recursively), glob, list file, array or tar shards, or a mixture: 0.7*path/a + 0.3*path/b."""
    features: tuple[Feature, ...] = ()
    """Features of a point after x, y and z, in this order: normals, colours, intensity."""
    augment: bool = True
    """Scale each axis by 2/3 to 3/2 and shift it by up to 0.2 at random. Normals are adapted."""
    rotate: Rotate = "none"
    """Rotate at random about one axis, or in all directions (all)."""
    backend: Backend = "auto"
    """Reader of PLY and PCD clouds: numpy (auto) or open3d, which needs maskkit[open3d]. Both give the same points."""

    def at(self, root: str) -> "Data":
        """Return a copy of the settings for another path."""
        return replace(self, root=root)

    def open(self, tokenizer: Groups, *, train: bool) -> Source:
        """Return a source of clouds [P C], augmented at random for training, else only normalised."""
        return open_clouds(
            self.root,
            tokenizer,
            train=train,
            features=self.features,
            augment=self.augment,
            rotate=self.rotate,
            backend=self.backend,
        )


def open_clouds(
    where: str | Path,
    tokenizer: Groups,
    *,
    train: bool = False,
    features: tuple[Feature, ...] | None = None,
    augment: bool = True,
    rotate: Rotate = "none",
    backend: Backend = "auto",
) -> Source:
    """Open clouds with the number of points and features of a tokenizer. Missing points are padded with NaN.

    A cloud with fewer points than groups is a bad sample in training.

    Without ``features`` they follow from the tokenizer's number: 3 are normals, 1 intensity, 6 normals and colours, 7
    all. Raises ValueError if the features do not fit the tokenizer.
    """
    if features is None:
        known: dict[int, tuple[Feature, ...]] = {0: (), 1: ("intensity",), 3: ("normals",), 6: ("normals", "colours")}
        features = known.get(tokenizer.features, ("normals", "colours", "intensity"))
    width = sum(WIDTHS[name] for name in features)
    if width != tokenizer.features:
        raise ValueError(
            f"features {', '.join(features) or 'none'} are {width} numbers per point, "
            f"the model takes {tokenizer.features}"
        )
    transform = eval_transform(tokenizer.num_points)
    if train:
        # All masks of a batch hide as many groups as that of the cloud with the fewest (maskers.Uniform). A cloud with
        # fewer points than groups would take them from the others, so it is not trained on. The authors have none:
        # their clouds hold 8192 points, and repeated points would make hidden groups copies of visible ones.
        transform = train_transform(
            tokenizer.num_points,
            fewest=max(FEWEST, tokenizer.num_groups),
            augment=augment,
            rotate=rotate,
            normals_at=_column(features, "normals"),
        )
    open_one = functools.partial(
        open_files, transform=transform, features=features, mesh_points=tokenizer.num_points, backend=backend
    )
    return open_mixture(os.fspath(where), open_one)


def _column(features: tuple[Feature, ...], name: Feature) -> int | None:
    """Return the first column of a feature in a row of x, y, z and features; None if it is absent."""
    if name not in features:
        return None
    return 3 + sum(WIDTHS[before] for before in features[: features.index(name)])


def open_files(
    where: str | Path,
    *,
    transform: Transform,
    features: tuple[Feature, ...] = (),
    mesh_points: int = 1024,
    backend: Backend = "auto",
) -> "Clouds | Arrays[StoredCloud]":
    """Open files of arrays as ``find_data`` finds them, or any other path that ``find_files`` accepts as ``Clouds``.

    A single .npy file of two axes, [P C], is one cloud.
    """
    path = os.path.expanduser(os.fspath(where))
    found = _shapenet(path) or find_data(path, lambda path: find_files(path, SUFFIXES))
    if isinstance(found, tuple):
        paths = found
        row, columns = StoredCloud(transform=transform, features=features), NORMALS if "normals" in features else ()
        first = load_arrays(paths[0], KEYS, columns=columns)[:2]

        def open_one(path: str) -> ArraySource[StoredCloud]:
            loaded = first if path == paths[0] else None
            return ArraySource(where=path, names=KEYS, columns=columns, row=row, arrange=row.arrange, loaded=loaded)

        if first[0].ndim != 2 or is_hdf5(paths[0]):
            return open_arrays(paths, open_one)
        found = find_files(path, SUFFIXES)
    return Clouds(files=found, transform=transform, features=features, mesh_points=mesh_points, backend=backend)


@dataclass(frozen=True, kw_only=True)
class Clouds(FileSource):
    """A source of point-cloud and mesh files. Meshes are sampled, then all clouds are transformed."""

    transform: Transform
    features: tuple[Feature, ...] = ()
    mesh_points: int = 1024
    """Number of points drawn from a mesh."""
    backend: Backend = "auto"

    def read(self, key: Key, rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return a cloud, transformed. Raises BadSampleError."""
        path = self.path(key.index)
        if isinstance(self.files, Paths):
            cloud = read_cloud(path, self.backend, self.features)
        else:
            with self.files.local(key.index) as copy:  # a member of a tar shard is copied: some readers take only paths
                try:
                    cloud = read_cloud(copy, self.backend, self.features)
                except BadSampleError as error:
                    raise BadSampleError(path, error.reason) from None
        try:
            return self.transform(sample_cloud(cloud, self.features, rng, self.mesh_points), rng)
        except ValueError as error:
            raise BadSampleError(path, str(error)) from None


@dataclass(frozen=True, kw_only=True)
class StoredCloud:
    """Make a sample of one cloud of an array [N P C]. ``formats.columns`` defines the columns."""

    transform: Transform
    features: tuple[Feature, ...] = ()

    def arrange(self, array: Array, where: str) -> Array:
        """Return the array as it is. Raises ValueError for one that holds no clouds."""
        wanted = 3 + sum(WIDTHS[name] for name in self.features)
        if array.ndim != 3 or array.shape[2] < wanted or array.dtype.kind not in "iuf":
            raise ValueError(
                f"{where}: {list(array.shape)} of {array.dtype} are no clouds; save [clouds points {wanted}]"
            )
        if array.size == 0:
            raise ValueError(f"{where}: {list(array.shape)} holds no points; save [clouds points {wanted}]")
        return array

    def __call__(self, stored: Array, path: str, rng: torch.Generator) -> Float[Tensor, "P C"]:
        """Return a cloud, transformed. Raises BadSampleError."""
        check_decoded(path, stored.size * 8, " x ".join(map(str, stored.shape)))
        with one_bad_sample(path):
            cloud = finite_points(cloud_of_columns(np.asarray(stored)), path, self.features)
            return self.transform(sample_cloud(cloud, self.features, rng, 0), rng)


samples = EvaluationSamples(Data)
"""Read samples for evaluation one by one, in order: ``samples(PATH, model, errors, **settings of Data)``."""

_SHAPENET_LINE = re.compile(r"(\d{8})-[0-9a-zA-Z_.-]+\.npy")


def _shapenet(path: str) -> Files | None:
    """Read the authors' ShapeNet-55 lists of names such as 02691156-1a04e3ea.npy, whose first part is the class.

    The files lie in ``shapenet_pc`` beside the list or beside its folder, as Point-MAE's DATASET.md lays them out.
    Returns None for any other file.
    """
    if not (path.endswith(".txt") and os.path.isfile(path)):
        return None
    with open(path, encoding="utf-8", errors="replace") as file:
        lines = [line.strip() for line in file if line.strip()]
    matches = [_SHAPENET_LINE.fullmatch(line) for line in lines]
    found = [match for match in matches if match]
    folder = os.path.dirname(os.path.abspath(path))
    homes = [os.path.join(home, "shapenet_pc") for home in (folder, os.path.dirname(folder))]
    home = next((home for home in homes if os.path.isdir(home)), None)
    if not lines or len(found) < len(lines) or home is None:
        return None
    classes = tuple(sorted({match[1] for match in found}))
    labels = np.array([classes.index(match[1]) for match in found], dtype=np.int32)
    paths = np.array([os.fsencode(os.path.join(home, match[0])) for match in found])
    return Paths(paths=paths, labels=labels, classes=classes)
