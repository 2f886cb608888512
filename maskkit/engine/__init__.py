"""The training engine: data, optimiser, loop, state and log. It knows no modality and no method."""
