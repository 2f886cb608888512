"""Data: sources of samples, the search for files, and the loader. It depends on no model and no run."""
