"""Images, video, audio and point clouds: one folder each, installed as ``maskkit.modalities``.

A modality has its tokenizer's settings, its readers, its presets and its figures. It depends on no other modality.
"""

if __name__ != "maskkit.modalities":
    # The bare name would load a second copy of every class, and isinstance would fail between the copies.
    raise ImportError("import maskkit.modalities, not modalities: the folder is installed under the maskkit package")
