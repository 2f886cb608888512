"""The training engine: settings, loop, checkpoints, log and distributed training, for any modality and method."""
