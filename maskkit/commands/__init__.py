"""The commands of ``maskkit``, one per file. The settings of a command are a frozen dataclass with help texts."""
