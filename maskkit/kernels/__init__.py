"""Operations worth writing by hand, one file each: reference in PyTorch, a kernel beside it, one dispatch."""
