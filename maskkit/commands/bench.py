"""``maskkit bench``: the table of benchmarks."""

import importlib

from maskkit.commands.words import read_words
from maskkit.modality import Command

# name: module, class and description; a module is imported when its benchmark runs
BENCHMARKS = {
    "step": ("maskkit.bench.step", "Step", "time of a training step, against a peer or another revision (--against)"),
    "memory": ("maskkit.bench.memory", "Memory", "peak memory of a training step, compared with a peer"),
    "data": ("maskkit.bench.data", "Data", "throughput of the reader, on your data or compared with plain libraries"),
    "loop": ("maskkit.bench.loop", "Loop", "overhead of the training loop"),
    "kernels": ("maskkit.bench.kernels", "Kernels", "time of attention and point operations, compared with references"),
    "import": ("maskkit.bench.imports", "Imports", "import time of maskkit and its modalities, compared with torch"),
}


def main(words: list[str]) -> int:
    """Run one of the benchmarks and return the exit code."""
    asks_help = not words or words[0] in ("-h", "--help")
    if asks_help:
        print(f"maskkit bench {{{','.join(BENCHMARKS)}}}\n")
        for name, (_, _, text) in BENCHMARKS.items():
            print(f"  {name:<10}{text}")
        return 0
    if words[0] not in BENCHMARKS:
        raise ValueError(f"there is no benchmark {words[0]!r}; there are {', '.join(BENCHMARKS)}")
    module, kind, _ = BENCHMARKS[words[0]]
    settings: type[Command] = getattr(importlib.import_module(module), kind)
    read_words(settings, f"bench {words[0]}", words[1:]).run()
    return 0
