"""Parts for maskkit from outside: one file each."""
