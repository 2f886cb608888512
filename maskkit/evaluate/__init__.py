<<<<<<< HEAD
"""Evaluation of a frozen encoder: features, probes, errors of reconstructions."""
=======
"""Evaluation of frozen encoders: features, probes and reconstruction errors."""
>>>>>>> lang
