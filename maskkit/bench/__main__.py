"""The table of benchmarks."""

import importlib
import sys
from typing import Protocol

import tyro

# name: module, class, and what it does in a line; a module is imported when its benchmark is asked for
BENCHMARKS = {
    "step": ("maskkit.bench.step", "Step", "a training step, beside a peer's or another revision's (--against)"),
    "memory": ("maskkit.bench.memory", "Memory", "the most memory that a training step holds, beside a peer's"),
    "data": ("maskkit.bench.data", "Data", "the reader alone, on your data or beside a plain library"),
    "loop": ("maskkit.bench.loop", "Loop", "what the training loop adds to a bare step"),
    "kernels": ("maskkit.bench.kernels", "Kernels", "attention and operations on points, beside references"),
    "import": ("maskkit.bench.imports", "Imports", "importing maskkit and its modalities, beside torch alone"),
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
