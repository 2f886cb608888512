"""Evaluation of frozen encoders: features, probes and reconstruction errors."""
