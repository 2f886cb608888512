"""The packages that read recordings, for ``maskkit doctor``."""

import importlib
import importlib.util

from maskkit.doctor import Report, package

_EXTRA = "pip install 'maskkit[audio]'"


def findings() -> list[Report]:
    """Return one row per package: subject, whether it works, a line of text, and the command that fixes it."""
    read = package("soundfile", "reads audio", _EXTRA)
    formats = [_formats()] if read[1] else []
    optional = "turns spectrograms back into sound; maskkit's own Griffin-Lim does so without it"
    return [read, *formats, package("torchaudio", optional, _EXTRA)]


def _formats() -> Report:
    """Return which formats the libsndfile that soundfile found can read; before 1.1 it knew no MP3."""
    module = importlib.import_module("soundfile")
    formats = module.available_formats()
    known = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name in formats]
    text = f"{module.__libsndfile_version__}, reads {', '.join(known)} and {len(formats)} formats in all"
    mend = "" if "MP3" in known else "pip install --upgrade soundfile, or convert MP3 with ffmpeg"
    return "libsndfile", "MP3" in known, text, mend
