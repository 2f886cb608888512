"""Audio as spectrograms ``[B 1 time mels]``: readers, presets, pictures, and settings for the command line."""

from maskkit.modalities.audio.drawing import draw, write_sound
from maskkit.modalities.audio.filterbanks import fbank, fbanks, waveform
from maskkit.modalities.audio.presets import audiomae, masker, patches
from maskkit.modalities.audio.readers import SUFFIXES, measure, read_recording
from maskkit.modalities.audio.sample import sample, speak, tiny
from maskkit.modalities.audio.settings import AudioMAE, Command, Data, open_audio, restore
from maskkit.modalities.audio.transforms import Clip

from maskkit.modality import Modality

MODALITY = Modality(
    name="audio",
    sample=sample,
    tiny=tiny,
    suffixes=SUFFIXES,
    data=Data,
    open=open_audio,
    draw=draw,
    command=Command,
    restore=restore,
    bench="maskkit.modalities.audio.bench",
)
open_data = open_audio

__all__ = [
    "MODALITY",
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
    "speak",
    "tiny",
    "waveform",
    "write_sound",
]
