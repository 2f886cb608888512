"""Clips of one data set, whether files or an array hold them."""

from collections.abc import Sequence
from pathlib import Path

from maskkit.data.arrays import ArraySource
from maskkit.data.joined import Arrays, find_data, open_arrays
from maskkit.data.paths import Files
from maskkit.modalities.video.arrays import StoredClip, open_array
from maskkit.modalities.video.decoders import Decoder, find_decoder
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.videos import Transform, Videos, find_videos, is_for_pillow


def open_clips(
    where: str | Path,
    *,
    sampling: Sampling,
    transform: Transform,
    channels: int | None = 3,
    random: bool = True,
    repeats: int = 1,
    several_clips: bool = True,
    short_side: int | None = None,
    decoder: Decoder = "auto",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Videos | Arrays[StoredClip]:
    """Open files of arrays as ``find_data`` finds them, and anything that ``find_videos`` knows as Videos.

    ImportError where there are video files and nothing to decode them with.
    """
    found = find_data(where, find_videos)
    if isinstance(found, tuple):
        if repeats > 1:
            raise ValueError(f"{where}: clips of an array cannot be repeated, got repeats {repeats}; set --repeats 1")

        def open_one(path: str) -> ArraySource[StoredClip]:
            return open_array(
                path, sampling=sampling, transform=transform, channels=channels, random=random, mean=mean, std=std
            )

        return open_arrays(found, open_one)
    _refuse_missing_decoder(found, decoder)
    return Videos(
        files=found,
        sampling=sampling,
        transform=transform,
        channels=channels or 3,
        random=random,
        repeats=repeats,
        several_clips=several_clips,
        short_side=short_side,
        decoder=decoder,
    )


def _refuse_missing_decoder(files: Files, decoder: Decoder) -> None:
    """Raise an error now, instead of one a sample; paths are looked through only where there is no decoder."""
    try:
        find_decoder(decoder)
    except ImportError:
        if not all(is_for_pillow(files.path(index)) for index in range(len(files))):
            raise
