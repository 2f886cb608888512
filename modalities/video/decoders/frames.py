"""Folders of frames, read by Pillow."""

import os
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskkit.data.paths import open_file
from maskkit.data.pictures import decode
from maskkit.files import BadSampleError
from maskkit.modalities.video.decoders.video import FRAME_RATE, Picture, Pixels, Video, check_clip, shrunk, stacked

FRAME_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm")


class FrameFolder(Video):
    """A folder of images, one per frame, in the order of the numbers in their names, all of one size."""

    def __init__(self, path: str, *, short_side: int | None = None, rate: float = FRAME_RATE) -> None:
        self.name, self._short_side, self._rate = path, short_side, rate
        names = [name for name in os.listdir(path) if name.lower().endswith(FRAME_SUFFIXES) and name[0] != "."]
        if not names:
            raise BadSampleError(path, "a folder without frames")
        self._files = [os.path.join(path, name) for name in sorted(names, key=_by_number)]

    def __len__(self) -> int:
        return len(self._files)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds [n] at which each frame begins, at 25 frames per second: a folder does not say."""
        return np.arange(len(self._files)) / self._rate

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Read frames [k height width 3]."""
        found = {}
        for number in dict.fromkeys(int(n) for n in numbers):
            found[number] = self._picture(self._files[number])
            check_clip(found[number], numbers, self.name)
        return stacked(found, numbers, self.name)

    def _picture(self, file: str) -> Picture:
        # JPEGs are decoded at 1/2, 1/4 or 1/8 of their size; decode keeps sides of twice the number that it is given.
        side = None if self._short_side is None else max(1, self._short_side // 2)
        try:
            pixels = decode(open_file(file, "frame"), file, 3, side)
        except BadSampleError as error:
            # The folder is the sample: its frames, were they named as samples, would count as many bad ones.
            raise BadSampleError(self.name, f"{os.path.basename(file)}: {error.reason}") from None
        return shrunk(pixels.permute(1, 2, 0).numpy(), self._short_side)


def _by_number(name: str) -> list[tuple[int, int | str]]:
    """Sort ``frame_10`` after ``frame_9``."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]
