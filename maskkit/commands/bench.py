"""``maskkit bench``: figures of this machine."""


def main(words: list[str]) -> int:
    """Run one of the benchmarks."""
    from maskkit.bench.__main__ import main as run

    return run(words)
