"""Tar shards of three small images with labels, as they are packed and as other programs write them."""

import io
import tarfile

from tests.fuzz.seeds import image


def seeds() -> dict[str, bytes]:
    """Return shards in the three dialects of tar."""
    kinds = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
    return {f"{name}.tar": _shard(kind) for name, kind in kinds.items()}


def _shard(kind: int) -> bytes:
    pictures = image.seeds()
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=kind) as shard:
        for number, name in enumerate(("colour.jpg", "colour.png", "palette.bmp")):
            stem = f"{'ä' * 60 if kind != tarfile.USTAR_FORMAT else ''}{number}"  # too long for a plain header
            _add(shard, f"{stem}.{name.rpartition('.')[2]}", pictures[name])
            _add(shard, f"{stem}.cls", str(number).encode())
    return file.getvalue()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    shard.addfile(entry, io.BytesIO(content))
