"""``maskkit bench``: benchmarks. Each modality defines its step, its peer and its readers."""
