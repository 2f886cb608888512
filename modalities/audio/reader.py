"""One recording as a waveform, from a file, and what its header says.

S samples at the rate of the front end.
"""

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType
from typing import BinaryIO

import torch
from jaxtyping import Float
from torch import Tensor

from maskkit.data.limits import check_decoded
from maskkit.files import BadSampleError, check_readable, short_reason
from maskkit.modalities.audio import decoded
from maskkit.modalities.audio.decoded import can_decode, decode
from maskkit.modalities.audio.filterbanks import num_samples
from maskkit.modalities.audio.front_end import AUDIO_MAE, HIGHEST_RATE, LOWEST_RATE, FrontEnd
from maskkit.modalities.audio.mp3 import lacks_length, with_length
from maskkit.modalities.audio.ogg import ogg_start
from maskkit.modalities.audio.resampling import resample
from maskkit.modalities.audio.seeking import BLOCK, Sound, SoundFile

# What libsndfile decodes without being told a format, and what PyAV decodes if it is installed. A list may name files
# of any suffix; their content decides.
SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd"),
    *(".caf", ".w64", ".rf64", ".sph", ".nist", ".voc", ".sf"),
    *decoded.SUFFIXES,
)

SILENCE = 2**-15  # half the span of one 16-bit step: nothing that rises above its mean by less was recorded
UNKNOWN = 2**62  # libsndfile's lengths from here upwards are those of files that do not say theirs
MISSING = 0.1  # seconds: MP3 headers only estimate the length


def read_recording(
    file: str | BinaryIO,
    *,
    name: str | None = None,
    samples: int | None = None,
    place: float = 0.0,
    around_sound: bool = False,
    front_end: FrontEnd = AUDIO_MAE,
) -> Float[Tensor, "S"]:
    """Read a file as one channel of float32 at the front end's rate, full scale at 1; channels are averaged.

    ``samples`` (at that rate) limits what is decoded; ``place`` says where that part lies in a longer recording, 0 at
    the start, 1 at the end. A part that is silent is returned as it is, or, with ``around_sound``, the part around the
    recording's loudest sample instead. ``file`` is a path or an open binary file, which ``name`` then names in
    messages. Raises BadSampleError for a file that is missing, corrupt, cut off, empty, not finite, shorter than a
    frame, of unknown length or silent throughout.
    """
    path = name or (file if isinstance(file, str) else str(getattr(file, "name", "recording")))
    if isinstance(file, str):
        check_readable(file, "recording")
    with _opened(file, path) as opened:
        total, rate = _length(opened, path), opened.samplerate
        wanted = total if samples is None else min(total, -(-samples * rate // front_end.sample_rate))
        wave = _part(opened, path, round(place * (total - wanted)), wanted)
        if is_silent(wave):
            loudest = loudest_place(_blocks(opened), path)
            if around_sound:
                wave = _part(opened, path, start_around(loudest, wanted, total), wanted)
    wave = resample(wave, rate, front_end.sample_rate)
    check_length(len(wave), path, front_end=front_end)
    return wave


def _length(opened: SoundFile, path: str) -> int:
    """Return the number of samples that the header of an open file promises."""
    if opened.frames <= 0:
        raise BadSampleError(path, "holds no samples, only a header")
    if opened.frames >= UNKNOWN:  # FLAC that was written to a pipe
        raise BadSampleError(path, "does not say how long it is; rewrite it: ffmpeg -i IN OUT.flac")
    return int(opened.frames)


def _part(opened: SoundFile, path: str, start: int, wanted: int) -> Float[Tensor, "S"]:
    """Decode a part of an open file, at its own rate."""
    if start != opened.tell():
        opened.seek(start)
    check_decoded(path, wanted * opened.channels * 4, f"{wanted / opened.samplerate:.4g} seconds")
    sound, rate = opened.read(wanted, dtype="float32", always_2d=True), opened.samplerate
    if len(sound) < wanted - MISSING * rate or len(sound) == 0:
        raise BadSampleError(path, f"truncated: {len(sound) / rate:.2f} of {wanted / rate:.2f} seconds can be decoded")
    return finite(torch.from_numpy(sound).mean(dim=1), path)


def _blocks(opened: SoundFile) -> Iterator[Float[Tensor, "S"]]:
    """Decode an open file from its start, block by block."""
    opened.seek(0)
    while len(sound := opened.read(max(BLOCK // opened.channels, 1), dtype="float32", always_2d=True)):
        yield torch.from_numpy(sound).mean(dim=1)


def finite(values: Tensor, path: str) -> Tensor:
    """Return the values, of any shape. Raises BadSampleError if one of them is NaN or infinite."""
    if not bool(values.isfinite().all()):
        raise BadSampleError(path, "holds NaN or infinite values")
    return values


def check_length(samples: int, path: str, frames: int = 1, front_end: FrontEnd = AUDIO_MAE) -> None:
    """Raise BadSampleError if samples at the front end's rate do not fill so many frames."""
    least, rate = num_samples(frames, front_end), front_end.sample_rate
    if samples < least:
        what = "a frame needs" if frames == 1 else "without padding, two patches in time need"
        raise BadSampleError(path, f"too short: {samples / rate:.3f} s; {what} {least / rate:.3f} s")


def is_silent(wave: Float[Tensor, "S"]) -> bool:
    """Return whether no sample is farther from the mean than recordings of 16 bits can tell."""
    return bool((wave - wave.mean()).abs().max() < SILENCE)


def loudest_place(blocks: Iterable[Float[Tensor, "S"]], path: str) -> int:
    """Return the position of the sample farthest from the mean of all. Raises BadSampleError if all is silent.

    It is the highest or the lowest one, so that one pass does, although the mean (a microphone's offset, no sound) is
    known only at its end.
    """
    count, total, high, low = 0, 0.0, (-math.inf, 0), (math.inf, 0)
    for block in blocks:
        finite(block, path)
        high = max(high, (block.max().item(), count + int(block.argmax())))
        low = min(low, (block.min().item(), count + int(block.argmin())))
        total += block.double().sum().item()
        count += len(block)
    distance, place = max((high[0] - total / count, high[1]), (total / count - low[0], low[1]))
    if distance < SILENCE:
        raise BadSampleError(path, "silent")
    return place


def start_around(place: int, wanted: int, total: int) -> int:
    """Return where a part of ``wanted`` samples with ``place`` in its middle starts, or the nearest it can."""
    return min(max(place - wanted // 2, 0), total - wanted)


@contextmanager
def _opened(file: str | BinaryIO, path: str) -> Iterator[SoundFile]:
    """Open a file with libsndfile and close it. Any error in between becomes a BadSampleError with a short reason."""
    module = soundfile()
    try:
        with _sound_file(module, file, path) as opened:
            if not LOWEST_RATE <= opened.samplerate <= HIGHEST_RATE:
                limits = f"{LOWEST_RATE:,} to {HIGHEST_RATE:,}"
                raise BadSampleError(path, f"its header says {opened.samplerate} samples per second, not {limits}")
            yield opened
    except BadSampleError:
        raise
    except Exception as error:  # libsndfile's own errors, TypeError for formats without a header, seek's ValueError ...
        raise BadSampleError(path, _reason(error)) from None


def _sound_file(module: ModuleType, file: str | BinaryIO, path: str) -> AbstractContextManager[SoundFile]:
    """Open a file with libsndfile, or with PyAV if libsndfile does not know the format or encoding.

    libsndfile reads only the first stream of a chained Ogg file, no FLAC in Ogg from FFmpeg, and nothing of a WAV file
    that was written to a pipe and counts no samples. PyAV reads all three.
    """
    start, chained = ogg_start(file)
    try:
        if chained and can_decode():
            return decode(file, path)
        opened = Sound(module, _with_length(file))
        if opened.frames or not can_decode():
            return opened
        error: Exception = BadSampleError(path, "holds no samples, only a header")
    except (module.LibsndfileError, TypeError) as raised:
        unknown = isinstance(raised, TypeError) or "recogni" in str(raised) or "unsupported encoding" in str(raised)
        if not (unknown or b"FLAC" in start) or not can_decode():
            raise
        error = raised
    if not isinstance(file, str):
        file.seek(0)
    try:
        return decode(file, path)
    except BadSampleError:
        raise
    except Exception:  # no sound for PyAV either: what libsndfile says is shorter
        raise error from None


def _with_length(file: str | BinaryIO) -> bytes | BinaryIO:
    """Return what libsndfile opens: the file, or a copy of an MP3 whose header does not say its length."""
    if isinstance(file, str):
        with open(file, "rb") as opened:
            mended = with_length(opened.read()) if lacks_length(opened) else None
        # Bytes, since a name may hold what is no UTF-8.
        return os.fsencode(file) if mended is None else mended
    mended = with_length(file.read()) if lacks_length(file) else None
    file.seek(0)
    return file if mended is None else mended


def soundfile() -> ModuleType:
    """Import soundfile when it is first needed, or say what installs it."""
    try:
        import soundfile as module
    except (ImportError, OSError) as error:  # OSError: libsndfile itself is missing
        raise ImportError(f"audio files need soundfile ({error}); pip install 'maskkit[audio]'") from error
    return module


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return short_reason(error)  # "no such file or directory", "permission denied"
    message = str(getattr(error, "error_string", "")).rstrip(".") or short_reason(error)
    # libsndfile says of an MP3 without a frame that it does not exist, although check_readable has seen it.
    if isinstance(error, TypeError) or "recogni" in message or "not a regular file" in message:
        return "not audio or a format libsndfile does not know; convert it: ffmpeg -i IN OUT.flac"
    return f"cannot be decoded: {message}"


def read_header(file: BinaryIO, path: str) -> tuple[float, int]:
    """Return the length of a recording in seconds and its rate in hertz; ``path`` names it in errors."""
    with _opened(file, path) as opened:
        return _length(opened, path) / opened.samplerate, opened.samplerate
