"""GIFs read by Pillow."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageSequence

from maskkit.data.limits import check_decoded
from maskkit.data.pictures import in_channels
from maskkit.data.source import one_bad_sample
from maskkit.modalities.video.decoders.video import (
    Pixels,
    Video,
    VideoFile,
    check_clip,
    decoding_reason,
    shrunk,
    stacked,
)


class AnimatedPicture(Video):
    """A GIF read by Pillow. Frames build on each other, so all up to the last one wanted are decoded."""

    def __init__(self, source: VideoFile, *, name: str, short_side: int | None = None) -> None:
        self.name, self._short_side = name, short_side
        self._content = Path(source).read_bytes() if isinstance(source, str | Path) else source.read()
        self._durations = [max(image.info.get("duration", 0), 10) for image in self._frames()]  # milliseconds

    def __len__(self) -> int:
        return len(self._durations)

    def times(self) -> NDArray[np.float64]:
        """Return the seconds [n] at which each frame begins; a duration of zero is shown for 0.01 seconds."""
        return np.concatenate([[0.0], np.cumsum(self._durations)[:-1]]) / 1000

    def read(self, numbers: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode frames [k height width 3], going through the file once."""
        wanted = {int(n) for n in numbers}
        found = {}
        for number, image in enumerate(self._frames()):
            if number in wanted:
                found[number] = shrunk(np.asarray(in_channels(image, self.name, 3)), self._short_side)
                check_clip(found[number], numbers, self.name)
            if len(found) == len(wanted):
                break
        return stacked(found, numbers, self.name)

    def _frames(self) -> Iterator[Image.Image]:
        with one_bad_sample(self.name, decoding_reason), Image.open(io.BytesIO(self._content)) as image:
            check_decoded(self.name, image.width * image.height * 4, f"{image.width} x {image.height} pixels")
            yield from ImageSequence.Iterator(image)
