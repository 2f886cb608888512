"""Remote files (``s3://``, ``https://``, ``file://`` ...), downloaded when they are first opened.

The cache folder is ``MASKKIT_CACHE`` (default ``~/.cache/maskkit``), its limit ``MASKKIT_CACHE_GB`` (default 50, in
10^9 bytes). The least recently opened files are deleted first. If several processes need the same file, one downloads
it and the others wait. Files are identified by their address only: if the contents change, delete the cached copy. A
run reads shards window by window (``Tars.order``). A cache that cannot hold the shards of two windows, for all runs
that share it, downloads them repeatedly.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import filelock

from maskkit.files import short_reason

TRIES = 3  # attempts to download a file
_CHUNK = 1 << 20
_OURS = re.compile(r"[0-9a-f]{32}-.*(?<!\.lock)")  # other files in the folder are not counted and never deleted


def is_remote(name: str) -> bool:
    """Return whether a name is an address (``s3://bucket/a.tar``) and not a path."""
    return "://" in name


class FileSystem(Protocol):
    """A file system of fsspec, as far as it is used here."""

    def info(self, path: str) -> Mapping[str, int]:
        """Return facts about a file; ``size`` is its length in bytes."""

    def open(self, path: str, mode: str) -> BinaryIO:
        """Open a file."""

    def cat_file(self, path: str) -> bytes:
        """Return what a file holds."""

    def glob(self, path: str) -> list[str]:
        """List the files that a pattern matches."""

    def unstrip_protocol(self, name: str) -> str:
        """Return the address of a file."""


def file_system(address: str) -> tuple[FileSystem, str]:
    """Return fsspec's file system for an address and the path in it. Raises ValueError if a package is missing."""
    import fsspec  # comes with torch; in a function, since it is needed only here and takes a while

    try:
        system, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:  # "Install s3fs to access S3", "Protocol not known"
        raise ValueError(f"{address}: {short_reason(error)}") from None
    return cast(FileSystem, system), path


def open_anywhere(name: str) -> int:
    """Open a path or an address for reading, as a file descriptor. Raises OSError or ValueError."""
    if not is_remote(name):
        return os.open(name, os.O_RDONLY | os.O_NONBLOCK)  # otherwise a pipe would block forever
    return _Cache.from_environment().open(name)


class _Cache:
    """A folder of downloaded files with a size limit."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    @classmethod
    def from_environment(cls) -> "_Cache":
        """Read both environment variables. Raises ValueError if the limit is not a number."""
        said = os.environ.get("MASKKIT_CACHE_GB", "50")
        try:
            limit = int(float(said) * 1e9)
        except (ValueError, OverflowError):
            limit = -1
        if limit < 0:
            raise ValueError(f"MASKKIT_CACHE_GB must be a number of gigabytes, got {said!r}")
        folder = os.environ.get("MASKKIT_CACHE") or "~/.cache/maskkit"
        return cls(Path(folder).expanduser(), limit)

    def open(self, address: str) -> int:
        base = re.sub(r"[^\w.-]", "_", address.rpartition("/")[2])[-100:]
        copy = self.folder / f"{hashlib.sha256(address.encode()).hexdigest()[:32]}-{base}"
        # An open file survives its deletion by another process, so it needs no lock.
        with contextlib.suppress(FileNotFoundError):
            return _opened(copy)
        self.folder.mkdir(parents=True, exist_ok=True)
        with _locked(Path(f"{copy}.lock")):
            with contextlib.suppress(FileNotFoundError):  # downloaded by another process in the meantime
                return _opened(copy)
            return self._copy(address, copy)

    def _copy(self, address: str, copy: Path) -> int:
        system, path = file_system(address)
        aside = Path(f"{copy}.part")
        for attempt in range(1, TRIES + 1):
            try:
                size = int(system.info(path)["size"])
                with _locked(self.folder / "lock"):
                    self._make_room(size, copy)
                    with aside.open("wb") as file:
                        file.truncate(size)  # so that other processes count the reserved space
                _download(system, path, aside, size)
                descriptor = os.open(aside, os.O_RDONLY)
                os.replace(aside, copy)  # from here on another process may delete it
                return descriptor
            except (FileNotFoundError, PermissionError):
                raise
            except Exception:  # clients of object stores raise various errors
                aside.unlink(missing_ok=True)
                if attempt == TRIES:
                    raise
                time.sleep(attempt)
        raise AssertionError("unreachable")

    def _make_room(self, size: int, copy: Path) -> None:
        """Delete the least recently opened files until ``size`` bytes fit. A file above the limit is kept alone."""
        found = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if _OURS.fullmatch(path.name) and not (path.suffix == ".part" and _is_dead(path, copy)):
                    status = path.stat()
                    found.append((status.st_mtime_ns, status.st_size, path))
        taken = sum(each for _, each, _ in found)
        for _, each, path in sorted(found):
            if taken + size <= self.limit:
                return
            if path.suffix != ".part":
                path.unlink(missing_ok=True)
                taken -= each


def _opened(copy: Path) -> int:
    descriptor = os.open(copy, os.O_RDONLY)
    os.utime(descriptor)  # what is used stays
    return descriptor


def _download(system: FileSystem, path: str, aside: Path, size: int) -> None:
    done = 0
    with system.open(path, "rb") as source, aside.open("rb+") as target:
        while chunk := source.read(_CHUNK):
            target.write(chunk)
            done += len(chunk)
    if done != size:
        raise OSError(f"only {done} of {size} bytes came")


def _is_dead(part: Path, own: Path) -> bool:
    """Delete a partial file whose process has ended, and return whether it did."""
    if part == Path(f"{own}.part"):
        return True  # left over from an earlier try: this process holds the lock, and writes the part anew
    try:
        with _locked(part.with_suffix(".lock"), wait=False):
            part.unlink(missing_ok=True)
            return True
    except filelock.Timeout:
        return False


def _locked(path: Path, *, wait: bool = True) -> filelock.BaseFileLock:
    """Return a lock to hold inside ``with``; the system frees it when the process dies.

    Without ``wait``, filelock.Timeout is raised where another process holds it.
    """
    return filelock.FileLock(path, timeout=-1 if wait else 0)
