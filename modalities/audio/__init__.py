"""Audio as spectrograms ``[B 1 time mels]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.audio.filterbanks import fbank, fbanks, waveform
from maskkit.modalities.audio.pictures import draw, write_sound
from maskkit.modalities.audio.presets import audiomae, masker, patches
from maskkit.modalities.audio.readers import SUFFIXES, measure, read_recording
from maskkit.modalities.audio.requirements import findings
from maskkit.modalities.audio.sample import NAME, sample, speak, tiny
from maskkit.modalities.audio.settings import AudioMAE, Command, Data, open_audio, restore
from maskkit.modalities.audio.transforms import Clip

open_data = open_audio  # the name by which the command line opens any modality's data

__all__ = [
    "NAME",
    "SUFFIXES",
    "AudioMAE",
    "Clip",
    "Command",
    "Data",
    "audiomae",
    "draw",
    "fbank",
    "fbanks",
    "findings",
    "masker",
    "measure",
    "open_audio",
    "open_data",
    "patches",
    "read_recording",
    "restore",
    "sample",
    "speak",
    "tiny",
    "waveform",
    "write_sound",
]
