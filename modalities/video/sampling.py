"""Sampling of the frames of a clip from a video."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """A clip of ``frames`` frames, spaced in one of three ways.

    ``stride``: every so many frames (VideoMAE: 4 for Kinetics, 2 for Something-Something). ``fps``: so many frames per
    second, whatever the video's own rate. ``seconds``: spread evenly over so long a stretch, whose last frame counts as
    part of it (MAE-ST: 64/30 s; its ``temporal_sampling`` runs ``linspace`` from the first to the last frame). By time
    a frame is the one on screen at that moment, so a variable frame rate is kept to. Clips longer than the video repeat
    its last frame.
    """

    frames: int = 16
    stride: int | None = None
    fps: float | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        """Check that there is one way of spacing."""
        given = [name for name in ("stride", "fps", "seconds") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"say how frames are spaced by one of stride, fps and seconds, got {given or 'none'}")
        value = getattr(self, given[0])
        if self.frames < 1 or value <= 0:
            raise ValueError(f"frames and {given[0]} must be positive, got {self.frames} and {value}")

    def __call__(self, times: NDArray[np.float64], rng: torch.Generator | None) -> NDArray[np.int64]:
        """Return frame numbers, ascending; ``times`` [n] are the seconds at which a video's frames begin.

        The start is drawn from ``rng``, evenly over all that fit; without ``rng`` the clip is in the middle.
        """
        if self.stride is not None:
            return self._by_frames(len(times), self.stride, rng)
        # A video ends one frame after its last frame begins.
        period = (times[-1] - times[0]) / (len(times) - 1) if len(times) > 1 else 0.0
        length = times[-1] - times[0] + period
        span = self.frames / self.fps if self.fps is not None else self.seconds
        assert span is not None
        share = 0.5 if rng is None else float(torch.rand((), generator=rng, dtype=torch.float64))
        start = times[0] + share * max(length - span, 0.0)
        step = 1 / self.fps if self.fps is not None else max(span - period, 0.0) / max(self.frames - 1, 1)
        moments = start + step * np.arange(self.frames)
        # Times in files are rounded to their time base, so a frame counts from a thousandth of a second before it.
        numbers = np.searchsorted(times, moments + 1e-3, side="right") - 1
        return numbers.clip(0, len(times) - 1)

    def _by_frames(self, count: int, stride: int, rng: torch.Generator | None) -> NDArray[np.int64]:
        """VideoMAE's ``_sample_train_indices`` and ``_video_TSN_decord_batch_loader`` (kinetics.py)."""
        room = count - self.frames * stride  # their span includes the stride after the last frame
        if room > 0:
            start = room // 2 if rng is None else int(torch.randint(room + 1, (), generator=rng))
        else:
            start = 0
        # V9: a short video repeats its last frame in step. The code compares numbers from 1 by "<" with the length, so
        # that the very last frame is never stepped onto.
        steps = max((count - 2 - start) // stride, 0)
        return start + stride * np.minimum(np.arange(self.frames), steps)


def describe(sampling: Sampling) -> str:
    """Return a sampling in a few words."""
    if sampling.stride is not None:
        return f"{sampling.frames} frames, every {_nth(sampling.stride)}"
    if sampling.fps is not None:
        return f"{sampling.frames} frames at {sampling.fps:g} a second"
    return f"{sampling.frames} frames over {sampling.seconds:g} s"


def _nth(number: int) -> str:
    names: Sequence[str] = ("one", "2nd", "3rd")
    return names[number - 1] if number <= len(names) else f"{number}th"
