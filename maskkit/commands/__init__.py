"""The commands of ``maskkit``, one a file; ``maskkit.cli`` has their table."""
