"""The table of benchmarks."""

import importlib
import sys
from typing import Protocol

import tyro

# name: module, class and description; a module is imported when its benchmark runs
BENCHMARKS = {
    "step": ("maskkit.bench.step", "Step", "time of a training step, against a peer or another revision (--against)"),
    "memory": ("maskkit.bench.memory", "Memory", "peak memory of a training step, compared with a peer"),
    "data": ("maskkit.bench.data", "Data", "throughput of the reader, on your data or compared with plain libraries"),
    "loop": ("maskkit.bench.loop", "Loop", "overhead of the training loop"),
    "kernels": ("maskkit.bench.kernels", "Kernels", "time of attention and point operations, compared with references"),
    "import": ("maskkit.bench.imports", "Imports", "import time of maskkit and its modalities, compared with torch"),
}


class Benchmark(Protocol):
    """Settings of a benchmark."""

    def run(self) -> None:
        """Time, and print what was found."""


def main(words: list[str]) -> int:
    """Run one of the benchmarks; returns the exit code."""
    asks_help = not words or words[0] in ("-h", "--help")
    if asks_help:
        print(f"maskkit bench {{{','.join(BENCHMARKS)}}}\n")
        for name, (_, _, text) in BENCHMARKS.items():
            print(f"  {name:<10}{text}")
        return 0
    if words[0] not in BENCHMARKS:
        raise ValueError(f"there is no benchmark {words[0]!r}; there are {', '.join(BENCHMARKS)}")
    module, kind, _ = BENCHMARKS[words[0]]
    settings: type[Benchmark] = getattr(importlib.import_module(module), kind)
    tyro.cli(settings, prog=f"maskkit bench {words[0]}", args=words[1:]).run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
