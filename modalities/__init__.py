"""Images, video, audio and point clouds: one folder each, installed as ``maskkit.modalities``.

A modality knows its tokenizer's settings, its files, its presets and its pictures, and no other modality.
"""

if __name__ != "maskkit.modalities":
    # The bare name would load a second copy of every class in here, and isinstance would fail between the two.
    raise ImportError("import maskkit.modalities, not modalities: the folder is installed under the maskkit package")
