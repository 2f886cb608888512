"""What an encoder is worth: features, and probes that read them without changing it."""
