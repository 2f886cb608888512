"""Packing of files into tar shards, which maskkit and the webdataset library read."""

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

from maskkit.data.paths import Files
from maskkit.data.shards.counts import COUNTS
from maskkit.files import BadSampleError, make_folder, short_reason, whole_file
from maskkit.progress import track
from maskkit.seeds import generator

_SAID = 20  # maximum number of left-out files that are named


@dataclass(frozen=True)
class Packed:
    """The result of packing."""

    shards: int
    samples: Counter[str]
    """Number of packed samples by suffix."""
    left_out: int


def pack(
    files: Files, suffixes: Collection[str], out: Path, *, size: int, seed: int, say: Callable[[str], None]
) -> Packed:
    """Write files unchanged, in a random order from ``seed``, to shards of about ``size`` bytes.

    ``out/shard-000000.tar`` and so on; a sample is ``00000012-NAME.jpg``, its number in ``files`` before its name, and
    ``00000012-NAME.cls`` with its class name where it has one. What cannot be read is left out and told to ``say``.
    (The webdataset library's own decoder takes a ``.cls`` for a number, which class names need not be.)
    The same files and seed give the same bytes. A shard is there whole or not at all, and ``counts.json`` comes last.
    """
    make_folder(out)
    if (out / COUNTS).exists() or next(out.glob("shard-*.tar"), None) is not None:
        raise ValueError(f"{out} already holds shards; delete them or choose another folder")
    endings = sorted((suffix.lower() for suffix in suffixes), key=len, reverse=True)  # .nii.gz before .gz
    order = torch.randperm(len(files), generator=generator(seed)).tolist()
    left_out = 0
    counts: dict[str, Counter[str]] = {}
    shard: _Shard | None = None
    try:
        for index in track(order, "packing"):
            try:
                ending, contents = _read(files, index, endings)
            except BadSampleError as error:
                left_out += 1
                if left_out <= _SAID:
                    say(f"left out {error}")
                continue
            if shard is not None and shard.length + len(contents) > size:
                shard.finish()
                shard = None
            if shard is None:
                shard = _Shard(out / f"shard-{len(counts):06d}.tar")
                counts[shard.path.name] = Counter()
            shard.add(_key(files.path(index), index, ending), ending, contents, files.label(index))
            counts[shard.path.name][ending] += 1
        if shard is None:
            raise ValueError(f"none of {len(files)} files can be read, so nothing was packed")
        shard.finish()
    except BaseException as error:
        if shard is not None:
            shard.drop(error)
        raise
    _write_counts(out / COUNTS, counts)
    return Packed(len(counts), sum(counts.values(), Counter()), left_out)


class _Shard:
    """A shard that is being written under a temporary name."""

    def __init__(self, path: Path) -> None:
        self.path, self._whole = path, ExitStack()
        self._file = self._whole.enter_context(whole_file(path)).open("wb")
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    @property
    def length(self) -> int:
        return self._file.tell()

    def add(self, key: str, ending: str, contents: bytes, label: str | None) -> None:
        self._member(key + ending, contents)
        if label is not None:
            self._member(f"{key}.cls", os.fsencode(label))

    def _member(self, name: str, contents: bytes) -> None:
        member = tarfile.TarInfo(name)  # without owner and time, so that the same files give the same bytes
        member.size = len(contents)
        self._tar.addfile(member, io.BytesIO(contents))

    def finish(self) -> None:
        self._tar.close()
        self._file.close()
        self._whole.close()

    def drop(self, error: BaseException) -> None:
        with suppress(OSError):  # of a full disk, which is told already
            self._file.close()
        self._whole.__exit__(type(error), error, error.__traceback__)


def _read(files: Files, index: int, endings: list[str]) -> tuple[str, bytes]:
    path = files.path(index)
    ending = next((ending for ending in endings if path.lower().endswith(ending)), None)
    if ending is None:  # lists name files of any suffix
        raise BadSampleError(path, f"ends in none of {', '.join(endings)}, by which it would be found in a shard")
    try:
        with files.open(index) as file:  # read completely before writing: half a member would damage the shard
            return ending, file.read()
    except OSError as error:
        raise BadSampleError(path, short_reason(error)) from None


def _key(path: str, index: int, ending: str) -> str:
    """Return the key of a sample: unique by its number, and without dots."""
    stem = os.path.basename(path)[: -len(ending)].replace(".", "_")
    return f"{index:08d}-{stem}"


def _write_counts(path: Path, counts: dict[str, Counter[str]]) -> None:
    plain = {name: dict(sorted(count.items())) for name, count in counts.items()}
    with whole_file(path) as aside:
        aside.write_text(json.dumps(plain, indent=1) + "\n")
