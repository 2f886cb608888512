"""Evaluation of a frozen encoder: features, probes, errors of reconstructions."""
