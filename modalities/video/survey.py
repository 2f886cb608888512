"""Statistics of some videos of a data set."""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from maskkit.data.survey import look, look_at_parts
from maskkit.modalities.video.clips import open_clips
from maskkit.modalities.video.decoders import FRAME_RATE, Decoder, find_decoder
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.videos import Videos, is_for_pillow, opened_video


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Properties of a data set, as medians over some videos, for default settings."""

    count: int  # of all videos
    frames: int
    rate: float  # frames per second
    height: int  # pixels
    width: int
    channels: int
    decoder: str  # what reads them


def survey(where: str | Path, *, limit: int = 8, channels: int | None = None, decoder: Decoder = "auto") -> Survey:
    """Return properties of up to ``limit`` evenly spread videos. Unreadable ones are skipped.

    In a mixture, the part with the largest weight is read, and the samples of all parts are counted.
    """
    heaviest, seen = look_at_parts(where, lambda path: _survey(path, limit, channels, decoder))
    return replace(heaviest, count=sum(each.count for each in seen))


def _survey(where: str, limit: int, channels: int | None, decoder: Decoder) -> Survey:
    still = Sampling(frames=1, stride=1)
    source = open_clips(where, sampling=still, transform=_as_it_is, channels=channels, decoder=decoder)
    if not isinstance(source, Videos):
        frames, stored, height, width = source.shape
        return Survey(
            count=len(source),
            frames=frames,
            rate=FRAME_RATE,
            height=height,
            width=width,
            channels=stored,
            decoder="numpy",
        )

    def facts(index: int) -> tuple[int, float, int, int]:
        with opened_video(source.files, index, decoder=decoder) as opened:
            times = opened.times()
            height, width = opened.read([0]).shape[1:3]
        return len(times), (len(times) - 1) / max(times[-1] - times[0], 1e-6), height, width

    seen = look(source.files, limit, facts)
    lengths, rates, heights, widths = (median(column) for column in zip(*seen, strict=True))
    pillows = all(is_for_pillow(source.path(index)) for index in source.files.spread(limit))
    return Survey(
        count=len(source),
        frames=round(lengths),
        rate=rates,
        height=round(heights),
        width=round(widths),
        channels=channels or 3,
        decoder="Pillow" if pillows else find_decoder(decoder),
    )


def fitting_stride(length: int, frames: int) -> int:
    """Return the stride of a clip of ``frames`` in videos of ``length``: 4, as for Kinetics, less where short."""
    return max(1, min(4, length // frames))


def _as_it_is(clip: Tensor, rng: torch.Generator) -> Tensor:
    return clip
