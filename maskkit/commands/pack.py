"""``maskkit pack``: pack many files into a few tar shards."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from maskkit.commands.words import read_words
from maskkit.modality import find_modality, modality_names
from maskkit.printing import say, tell
from maskkit.ranges import Count, Seed


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Pack files unchanged, in random order, into tar shards (shard-000000.tar, ...) and write counts.json."""

    folder: Annotated[str, tyro.conf.Positional]
    """Folder, glob, list file or tar shards to read."""
    out: Annotated[Path, tyro.conf.Positional]
    """Folder to write the shards to."""
    only: str | None = None
    """Pack only files of this modality, such as image. By default the files of all modalities are packed."""
    size_mb: Count = 256
    """Approximate size of a shard, in 10^6 bytes."""
    seed: Seed = 0
    """Seed of the random order."""

    def run(self) -> None:
        """Write the shards."""
        names = modality_names()
        if self.only is not None and self.only not in names:
            raise ValueError(f"--only must be one of {', '.join(names)}, got {self.only!r}")
        chosen = [self.only] if self.only else names
        suffixes = {suffix for name in chosen for suffix in find_modality(name).suffixes}
        if not suffixes:
            raise ValueError(f"modality {', '.join(chosen)} has no file suffixes; choose another --only")

        from maskkit.data.find import find_files
        from maskkit.data.shards.pack import pack

        files = find_files(self.folder, suffixes)
        packed = pack(files, suffixes, self.out, size=self.size_mb * 10**6, seed=self.seed, say=say)
        last = f"{packed.shards - 1:06d}"
        written = self.out / ("shard-000000.tar" if packed.shards == 1 else f"shard-{{000000..{last}}}.tar")
        kinds = ", ".join(f"{count:,} {suffix}" for suffix, count in packed.samples.most_common())
        tell(f"{written}: {packed.samples.total():,} samples ({kinds}), {packed.left_out:,} left out")


def main(words: list[str]) -> int:
    """Run the command and return the exit code."""
    read_words(Pack, "pack", words).run()
    return 0
