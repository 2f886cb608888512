"""Tar shards: which ones a pattern names, what lies in them, and how they are packed and downloaded."""
