"""The commands of ``maskkit``, one a file: a frozen dataclass of settings, whose docstrings are the help."""
