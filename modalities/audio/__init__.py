"""Audio as spectrograms ``[B 1 time mels]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.audio.data import Data, open_audio, samples
from maskkit.modalities.audio.filterbanks import fbank, fbanks, waveform
from maskkit.modalities.audio.pictures import draw, write_sound
from maskkit.modalities.audio.presets import audiomae, masker, patches
from maskkit.modalities.audio.reader import SUFFIXES, read_recording
from maskkit.modalities.audio.sample import NAME, sample, speak, tiny
from maskkit.modalities.audio.settings import AudioMAE, Command, restore
from maskkit.modalities.audio.survey import measure
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
    "masker",
    "measure",
    "open_audio",
    "open_data",
    "patches",
    "read_recording",
    "restore",
    "sample",
    "samples",
    "speak",
    "tiny",
    "waveform",
    "write_sound",
]
