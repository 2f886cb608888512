"""Statistics of some images of a data set: sizes, channels, mean and standard deviation.

Shapes: C channels, H W height and width in pixels.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from torch import Tensor

from maskkit.data.pictures import read_header, read_whole_header
from maskkit.data.source import Key, read_sample, readable
from maskkit.data.survey import look, look_at_parts, measure_parts
from maskkit.modalities.image.arrays import Layout
from maskkit.modalities.image.data import Pictures, open_pictures


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Properties of a data set, estimated from some images, for default settings."""

    count: int  # of all images in the data set
    height: int  # median, pixels
    width: int
    channels: int  # files: 1 if all are grey, else 3; arrays and deep TIFF files: as stored
    dtype: Literal["uint8", "float32"]  # of the samples


def survey(where: str | Path, *, limit: int = 64, channels: int | None = None, layout: Layout | None = None) -> Survey:
    """Return properties of up to ``limit`` evenly spread images, from headers of files. Bad ones are skipped.

    All parts of a mixture are read. The sizes are those of the part with the largest weight. Raises ValueError.
    """
    heaviest, seen = look_at_parts(where, lambda path: _survey(path, limit, channels, layout))
    if len({each.dtype for each in seen}) > 1:
        raise ValueError(f"{where}: some parts hold uint8 images, others floats; convert one to the other")
    return replace(heaviest, count=sum(each.count for each in seen), channels=max(each.channels for each in seen))


def _survey(where: str, limit: int, channels: int | None, layout: Layout | None) -> Survey:
    source = open_pictures(where, channels=channels, transform=_as_it_is, layout=layout)
    if not isinstance(source, Pictures):
        stored, height, width = source.shape
        dtype: Literal["uint8", "float32"] = "uint8" if source.row.is_uint8 else "float32"
        return Survey(count=len(source), height=height, width=width, channels=stored, dtype=dtype)
    files = source.files
    read = read_whole_header if source.whole else read_header
    seen = look(source, limit, lambda index: read(files.open(index), files.path(index)))
    return Survey(
        count=len(source),
        height=round(median(height for height, _, _ in seen)),
        width=round(median(width for _, width, _ in seen)),
        channels=channels or max(number for _, _, number in seen),
        dtype="float32" if source.whole else "uint8",
    )


def measure(
    where: str | Path, *, limit: int = 2000, channels: int | None = None, layout: Layout | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation per channel over the pixels of up to ``limit`` evenly spread images.

    In units of the full range, 0 to 1, for uint8 pixels; in the array's own units for floats. Unreadable samples are
    skipped. A constant channel has deviation 1, so that normalising by it gives 0 and not NaN. ``channels=None`` is
    what ``survey`` finds. Large JPEGs are measured at reduced size, as training sees them. Of a mixture each part
    counts by its weight.
    """
    colours = survey(where, layout=layout).channels if channels is None else channels

    def pixels(path: str) -> Iterator[Tensor]:
        source = open_pictures(path, channels=colours, transform=_as_it_is, layout=layout, min_side=256)
        rng = torch.Generator()
        for picture in readable(source.spread(limit), lambda index: read_sample(source, Key.of(index), rng)):
            assert isinstance(picture, Tensor)
            yield picture.flatten(1).double() / (255 if picture.dtype == torch.uint8 else 1)

    return measure_parts(os.fspath(where), colours, pixels)


def _as_it_is(picture: Tensor, rng: torch.Generator) -> Tensor:
    return picture
