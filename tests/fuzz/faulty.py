"""A reader with every fault that the fuzzer looks for: a file says which."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from maskkit.data.source import Key
from tests.fuzz.subjects import Setting


class Faulty:
    """A source of one sample. Its file holds the name of a fault, or none."""

    repeats = 1

    def __init__(self, path: str) -> None:
        self.where = path
        self.content = Path(path).read_bytes()
        if b"KeyError" in self.content:
            raise KeyError("frames")
        if b"lines" in self.content:
            raise ValueError("two\nlines")
        if b"long" in self.content:
            raise ValueError("x" * 400)

    def __len__(self) -> int:
        return 1

    def path(self, index: int) -> str:
        """Return the path of the file."""
        return self.where

    def label(self, index: int) -> None:
        """Return None."""

    def read(self, key: Key, rng: torch.Generator) -> Tensor:
        """Do what the file says."""
        for word, fault in FAULTS.items():
            if word in self.content:
                fault()
        return torch.full((2, 2), torch.nan if b"NaN" in self.content else torch.inf if b"inf" in self.content else 0.0)


def _raise() -> None:
    raise ImportError("no such library")


def _hang() -> None:
    while True:
        time.sleep(0.01)


def _freeze() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])  # as code of a library that does not return to Python
    _hang()


FAULTS = {
    b"abort": os.abort,
    b"exit": lambda: os._exit(3),
    b"ImportError": _raise,
    b"hang": _hang,
    b"freeze": _freeze,
    b"reserve": lambda: np.empty(2**33, dtype=np.uint8),
    b"allocate": lambda: np.ones(200 * 2**20, dtype=np.uint8),
}
SUBJECTS = {"faulty": lambda: {"train": Setting(Faulty)}}
