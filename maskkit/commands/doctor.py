"""``maskkit doctor``: what is installed, missing or broken."""


def main(words: list[str]) -> int:
    """Print the report and return the exit code."""
    if {"-h", "--help"} & set(words):
        print("usage: maskkit doctor\n\nReport what is installed, missing or broken, and how to fix it.")
        return 0
    from maskkit.doctor import main as run

    return run(words)
