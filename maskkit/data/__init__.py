"""Data: sources of samples, where they lie, and the loader that batches them. It knows no model and no run."""
