"""``maskkit bench``: measurements of this machine."""


def main(words: list[str]) -> int:
    """Run one of the benchmarks and return the exit code."""
    from maskkit.bench.__main__ import main as run

    return run(words)
