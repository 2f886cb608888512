"""Audio as spectrograms ``[B 1 time mels]``: inputs of methods, Audio-MAE, readers, figures and settings."""

from maskkit.methods import Methods
from maskkit.modalities.audio.audiomae import AudioMAE, audiomae, masker
from maskkit.modalities.audio.data import Data, open_audio, samples
from maskkit.modalities.audio.drawing import draw, write_sound
from maskkit.modalities.audio.filterbanks import fbank, fbanks, waveform
from maskkit.modalities.audio.fit import fit
from maskkit.modalities.audio.front_end import FrontEnd
from maskkit.modalities.audio.inputs import Inputs, inputs, patches
from maskkit.modalities.audio.reader import SUFFIXES, read_recording
from maskkit.modalities.audio.requirements import findings
from maskkit.modalities.audio.sample import sample, speak, tiny
from maskkit.modalities.audio.survey import measure
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
    inputs=inputs,
    input_settings=Inputs,
    presets={"audiomae": AudioMAE},
    fit=fit,
    findings=findings,
    bench="maskkit.modalities.audio.bench",
)
open_data = open_audio
METHODS = Methods(MODALITY)
model = METHODS.model

__all__ = [
    "AudioMAE",
    "Clip",
    "Data",
    "FrontEnd",
    "Inputs",
    "METHODS",
    "MODALITY",
    "SUFFIXES",
    "audiomae",
    "draw",
    "fbank",
    "fbanks",
    "findings",
    "inputs",
    "masker",
    "measure",
    "model",
    "open_audio",
    "open_data",
    "patches",
    "read_recording",
    "sample",
    "samples",
    "speak",
    "tiny",
    "waveform",
    "write_sound",
]
