"""``maskkit doctor``: what is installed, missing or broken."""


def main(words: list[str]) -> int:
    """Print the report and return the exit code."""
    from maskkit.doctor import main as run

    return run(words)
