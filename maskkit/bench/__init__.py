"""``maskkit bench``: what is timed and how; each modality says what its step, its peer and its readers are."""
