"""Hand-written operations, one per file: a reference in PyTorch, kernels, and a dispatch function."""
