"""``maskkit doctor``: what is installed, missing or broken."""


def main(words: list[str]) -> int:
    """Print the report."""
    from maskkit.doctor import main as run

    return run(words)
