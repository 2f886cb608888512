"""Clips in one ``.npy``, ``.npz`` or HDF5 file.

N videos, C channels, T frames of a clip, H W height and width in pixels, h w after the transform.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from maskkit.data.arrays import Array, ArraySource
from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError
from maskkit.modalities.video.decoders import FRAME_RATE
from maskkit.modalities.video.sampling import Sampling
from maskkit.modalities.video.videos import Transform

_CLIP_KEYS = ("videos", "clips", "x", "data", "arr_0", "images")


@dataclass(frozen=True, kw_only=True)
class StoredClip:
    """Make a sample of one stored video [T C H W]: sampled, normalised unless it is uint8, then transformed."""

    sampling: Sampling
    transform: Transform
    random: bool = True
    """Sample at random places, else in the middle."""
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __call__(self, stored: Array, path: str, rng: torch.Generator) -> Shaped[Tensor, "C T h w"]:
        """Return a clip. Raises BadSampleError if it is not finite, or too large."""
        is_uint8 = stored.dtype == np.uint8
        count = self.sampling.frames
        check_decoded(path, count * stored[0].size * (1 if is_uint8 else 4), f"{count} frames")
        stored = stored[self.sampling(np.arange(len(stored)) / FRAME_RATE, rng if self.random else None)]
        clip = torch.from_numpy(np.array(stored, dtype=np.uint8 if is_uint8 else np.float32, order="C"))
        if not is_uint8:
            if not clip.isfinite().all():
                raise BadSampleError(path, "holds NaN or infinite values")
            if self.mean is not None and self.std is not None:
                clip = (clip - torch.tensor(self.mean)[:, None, None]) / torch.tensor(self.std)[:, None, None]
        clip = self.transform(clip, rng).transpose(0, 1).contiguous()
        if not is_uint8 and not clip.isfinite().all():
            raise BadSampleError(path, "holds values that are too large for float32 once they are normalised")
        return clip


def open_array(
    where: str,
    *,
    sampling: Sampling,
    transform: Transform,
    channels: int | None = None,
    random: bool = True,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ArraySource[StoredClip]:
    """Open an ``.npy``, ``.npz`` or HDF5 file of clips: grey [N T H W], or [N C T H W], [N T C H W], [N T H W C].

    The axis of channels is the one of size 1, 3 or 4, looked for last, second, third; with ``channels`` the one of
    that size. With ``channels=3``, one channel is repeated. Of several arrays the clips are ``videos``, ``clips``,
    ``x``, ``arr_0`` or the only one, labels ``labels`` or ``y`` [N]. uint8 stays, which the model normalises; other
    numbers become float32, ``(x - mean) / std`` per channel. The source's ``shape`` is [T C H W].
    """
    row = StoredClip(
        sampling=sampling,
        transform=transform,
        random=random,
        mean=None if mean is None else tuple(mean),
        std=None if std is None else tuple(std),
    )
    return ArraySource(where=where, names=_CLIP_KEYS, row=row, arrange=partial(_channels_third, channels=channels))


def _channels_third(clips: Array, where: str, *, channels: int | None) -> Array:
    """View an array as [N T C H W]."""
    shape = "x".join(map(str, clips.shape))
    if clips.dtype.kind not in "iuf" or clips.ndim not in (4, 5) or 0 in clips.shape:
        raise ValueError(
            f"{where}: {clips.dtype} of shape {shape} is not N clips; save [N T H W], [N C T H W] or [N T H W C]"
        )
    if clips.ndim == 4:
        clips = clips[:, :, None]
    else:
        axes = [axis for axis in (4, 1, 2) if clips.shape[axis] in ((channels,) if channels else (1, 3, 4))]
        axes = axes or [axis for axis in (4, 1, 2) if clips.shape[axis] == 1]
        if not axes:
            raise ValueError(f"{where}: no axis of shape {shape} has {channels or '1, 3 or 4'} channels")
        clips = np.moveaxis(clips, axes[0], 2)
    if channels == 3 and clips.shape[2] == 1:
        return np.broadcast_to(clips, (*clips.shape[:2], 3, *clips.shape[3:]))
    if channels not in (None, clips.shape[2]):
        raise ValueError(f"{where}: shape {shape} has {clips.shape[2]} channels, not {channels}")
    return clips
