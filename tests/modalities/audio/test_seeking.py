"""An excerpt has the samples of the whole recording, in every format and encoding that libsndfile writes."""

import numpy as np
import pytest
import torch

from maskkit.modalities import audio
from maskkit.modalities.audio.seeking import Sound

soundfile = pytest.importorskip("soundfile")

RATE = 16_000
TIME = np.arange(11 * RATE) / RATE  # Opus and MP3 are not decoded from the start
SOUND = 0.4 * np.sin(2 * np.pi * (200 + 10 * TIME) * TIME) * (1 + 0.3 * np.sin(6 * np.pi * TIME))
ENCODINGS = [
    (kind, encoding)
    for kind in soundfile.available_formats()
    for encoding in soundfile.available_subtypes(kind)
    if kind != "RAW"  # which has no header, so that nothing opens it
]


@pytest.mark.parametrize(("kind", "encoding"), ENCODINGS)
def test_an_excerpt_has_the_samples_of_the_whole(tmp_path, kind, encoding):
    path = tmp_path / f"a.{kind.lower()}"
    try:
        soundfile.write(path, SOUND, RATE, format=kind, subtype=encoding)
    except soundfile.LibsndfileError as error:
        pytest.skip(f"libsndfile only reads it: {error}")
    own = audio.FrontEnd(sample_rate=soundfile.info(path).samplerate)  # of WVE and XI always the same
    whole = audio.read_recording(str(path), front_end=own)
    heard = whole[: len(SOUND)].numpy()
    assert np.corrcoef(heard, SOUND[: len(heard)])[0, 1] > 0.9
    tolerance = 0.01 if encoding == "OPUS" else 1e-6
    for place in (0.03, 0.5, 1.0):
        start = round(place * (len(whole) - 4000))
        part = audio.read_recording(str(path), samples=4000, place=place, front_end=own)
        assert (part - whole[start : start + 4000]).abs().max() <= tolerance, place
    files = [str(path).encode()] if kind == "SD2" else [str(path).encode(), open(path, "rb")]  # SD2 is two files
    for file in files:  # back and forth in one open file
        with Sound(soundfile, file) as opened:
            for start in (150_000, 160, 4097):
                opened.seek(start)
                part = torch.from_numpy(opened.read(3000))[:, 0]
                assert (part - whole[start : start + 3000]).abs().max() <= tolerance, start


def test_vorbis_is_found_far_from_the_start(tmp_path):
    """Beyond the minute that is decoded ahead of an excerpt."""
    time = np.arange(90 * 8000) / 8000
    noise = np.random.default_rng(0).normal(0, 0.1, len(time))
    soundfile.write(tmp_path / "a.ogg", noise * np.sin(time) ** 2, 8000)
    with Sound(soundfile, str(tmp_path / "a.ogg").encode()) as opened:
        whole = opened.read(len(time))
        for start in (640_000, 500_000, 700_000):
            opened.seek(start)
            assert np.abs(opened.read(4000) - whole[start : start + 4000]).max() < 1e-4
