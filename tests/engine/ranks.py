"""A process of a run under torchrun, as a recipe starts it: ``ranks.py DIGITS OUT (save|background|bad)``."""

import os
import sys
from dataclasses import replace
from pathlib import Path

from small import run_settings

from maskkit.cli import run_recipe
from maskkit.engine.loop import train


class BadDisk:
    """A source of one process whose disk fails after a while."""

    def __init__(self, source):
        self.source, self.reads = source, 0

    def __getattr__(self, name):
        return getattr(self.source, name)

    def __len__(self):
        return len(self.source)

    def read(self, key, rng):
        self.reads += 1
        if self.reads > 100:
            raise OSError(5, "Input/output error", "digits.npz")
        return self.source.read(key, rng)


def main():
    data, out, kind = sys.argv[1:]
    settings = run_settings(data, Path(out))
    settings = replace(settings, steps=100_000, save_every=2, save_in_background=kind == "background", device="cpu")
    model = settings.model.build()
    source = settings.data.open(model.tokenizer, train=True)
    bad = kind == "bad" and os.environ["RANK"] == "1"
    train(model, BadDisk(source) if bad else source, settings, modality="image")


run_recipe(main)
