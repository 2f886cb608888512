"""Seeds and generators that depend on named numbers alone: a run, an epoch, a sample, a micro-batch."""

import numpy as np
import torch


def seed_of(*numbers: int) -> int:
    """Return a seed that depends on all the numbers given, and on nothing else."""
    # The count goes first, since SeedSequence takes (1, 2) and (1, 2, 0) for the same.
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0]) >> 1


def generator(*numbers: int) -> torch.Generator:
    """Return a generator that depends on all the numbers given, and on nothing else."""
    return torch.Generator().manual_seed(seed_of(*numbers))
