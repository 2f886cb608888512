"""Audio, as spectrograms ``[B 1 time mels]``."""

from maskkit.modalities.audio.presets import audiomae
