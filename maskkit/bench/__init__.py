"""``maskkit bench``: one benchmark a file. Each modality gives its training step, its peer and its readers."""
