"""Tar shards: patterns, indices, packing and downloads."""
