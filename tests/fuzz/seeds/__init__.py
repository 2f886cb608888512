"""Small valid files of every format that the readers claim, as name -> content. The suffix says the format."""

from collections.abc import Callable
from functools import cache

from tests.fuzz.seeds import audio, image, points, tar, video

Seeds = dict[str, bytes]

WRITERS: dict[str, Callable[[], Seeds]] = {
    "image": image.seeds,
    "video": video.seeds,
    "audio": audio.seeds,
    "points": points.seeds,
    "tar": tar.seeds,
}


# The ways in which files of a modality are read (tests/fuzz/subjects.py), and the suffixes that a way is for.
SETTINGS: dict[str, dict[str, tuple[str, ...]]] = {
    "image": {"train": ("",), "plain": ("",), "grey": (".jpg", ".png", ".gif", ".webp", ".tif", ".pgm", ".bmp")},
    "video": {"train": ("",), "seconds": ("",), "plain": ("",)},
    "audio": {
        "train": ("",),
        "changed": (".wav", ".flac", ".ogg", ".mp3", ".au", ".m4a"),
        "padded": ("",),
        "plain": ("",),
    },
    "points": {"train": ("",), "features": ("",), "plain": ("",), "open3d": (".ply", ".pcd")},
    "tar": {"train": ("",)},
}


def settings_for(modality: str, name: str) -> list[str]:
    """Return the settings in which a file is read."""
    return [setting for setting, suffixes in SETTINGS[modality].items() if name.lower().endswith(suffixes)]


@cache
def seeds(modality: str) -> Seeds:
    """Return the seed files of a modality."""
    return WRITERS[modality]()
