"""Recordings of a tone, 0.2 seconds long, by libsndfile and PyAV."""

import importlib.util
import io

import numpy as np
from numpy.typing import NDArray

from tests.fuzz.seeds.arrays import hdf5, npy, npz

RATE = 8000
# name: format and subtype of libsndfile; two of a format where its decoders differ
SOUNDFILE = {
    "short.wav": ("WAV", "PCM_16"),
    "float.wav": ("WAV", "FLOAT"),
    "adpcm.wav": ("WAV", "IMA_ADPCM"),
    "gsm.wav": ("WAV", "GSM610"),
    "law.wave": ("WAVEX", "ULAW"),
    "short.flac": ("FLAC", "PCM_16"),
    "vorbis.ogg": ("OGG", "VORBIS"),
    "vorbis.oga": ("OGG", "VORBIS"),
    "opus.opus": ("OGG", "OPUS"),
    "layer3.mp3": ("MP3", "MPEG_LAYER_III"),
    "short.aif": ("AIFF", "PCM_24"),
    "short.aiff": ("AIFF", "PCM_16"),
    "law.aifc": ("AIFF", "ULAW"),
    "short.au": ("AU", "PCM_16"),
    "g721.au": ("AU", "G721_32"),
    "float.snd": ("AU", "DOUBLE"),
    "alac.caf": ("CAF", "ALAC_16"),
    "short.caf": ("CAF", "PCM_16"),
    "short.w64": ("W64", "PCM_16"),
    "short.rf64": ("RF64", "PCM_16"),
    "short.sph": ("NIST", "PCM_16"),
    "short.nist": ("NIST", "PCM_16"),
    "short.voc": ("VOC", "PCM_16"),
    "float.sf": ("IRCAM", "FLOAT"),
}


def seeds() -> dict[str, bytes]:
    """Return recordings of all suffixes."""
    found = {name: _written(*kind) for name, kind in SOUNDFILE.items()}
    found["untold.mp3"] = _without_length(found["layer3.mp3"])
    if importlib.util.find_spec("av"):
        found |= {f"aac{suffix}": _aac(kind) for suffix, kind in ((".m4a", "mp4"), (".aac", "adts"), (".mp4", "mp4"))}
    return found | _arrays()


def _wave(channels: int = 1) -> NDArray[np.float32]:
    time = np.arange(round(0.2 * RATE)) / RATE
    return np.stack([0.3 * np.sin(2 * np.pi * (440 + 110 * c) * time) for c in range(channels)], 1).astype(np.float32)


def _written(kind: str, subtype: str) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, _wave(channels=2 if kind == "W64" else 1), RATE, subtype, format=kind)
    return file.getvalue()


def _without_length(content: bytes) -> bytes:
    """Return an MP3 without the frame that says its length."""
    tag = max(content.find(b"Xing"), content.find(b"Info"))
    return content[content.find(b"\xff", tag) :] if tag >= 0 else content


def _aac(kind: str) -> bytes:
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(_wave().T.copy(), format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return file.getvalue()


def _arrays() -> dict[str, bytes]:
    waves = np.stack([_wave()[:, 0], _wave()[::-1, 0]])
    energies = np.random.default_rng(0).normal(-5, 2, (2, 20, 64)).astype(np.float32)
    return {
        "waves.npy": npy((np.tile(waves, 2) * 2**15).astype(np.int16)),
        "energies.npy": npy(energies),
        "rate.npz": npz(waves=waves, labels=np.arange(2), rate=np.array(RATE)),
        "packed.npz": npz(compressed=True, fbanks=energies),
        **hdf5("rate.h5", waves=waves, rate=np.array(RATE)),
    }
