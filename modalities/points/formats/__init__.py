"""Point-cloud formats, one a file. Each has ``read(path) -> Cloud``, which raises ValueError for a broken file."""
