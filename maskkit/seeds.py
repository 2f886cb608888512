"""Seeds and generators that depend only on numbers, such as a run's seed, an epoch and a sample."""

import numpy as np
import torch


def seed_of(*numbers: int) -> int:
    """Return a seed that depends on the given numbers only."""
    # The count comes first, because SeedSequence treats (1, 2) and (1, 2, 0) alike.
    return int(np.random.SeedSequence((len(numbers), *numbers)).generate_state(1, np.uint64)[0]) >> 1


def generator(*numbers: int) -> torch.Generator:
    """Return a CPU generator whose state depends on the given numbers only."""
    return torch.Generator().manual_seed(seed_of(*numbers))
