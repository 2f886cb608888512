"""Remote files (``s3://``, ``https://``, ``file://`` ...), downloaded when they are first opened.

The cache folder is ``MASKKIT_CACHE`` (default ``~/.cache/maskkit``), its limit ``MASKKIT_CACHE_GB`` (default 50, in
10^9 bytes). The least recently opened files are deleted first. If several processes need the same file, one downloads
it and the others wait. Files are identified by their address only: if the contents change, delete the cached copy. A
run reads shards window by window (``Tars.order``). A cache that cannot hold the shards of two windows, for all runs
that share it, downloads them repeatedly.

Failed connections, servers that are busy or silent (``MASKKIT_DOWNLOAD_SECONDS``, default 30), and broken downloads are
tried again after growing pauses. What was downloaded before is kept where the server allows it.
"""

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import parent_process
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar, cast

import filelock

from maskkit.data.limits import download_seconds, no_time_limit
from maskkit.data.shards.web import CHUNK, Body, RefusedError, is_web, open_web
from maskkit.files import short_reason
from maskkit.progress import waiting

TRIES = 3  # attempts to download a file
_SILENT = 2.0  # seconds after which it is said that nothing comes
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


Result = TypeVar("Result")
Opener = Callable[[int, str], AbstractContextManager[Body]]


def read_remote(address: str) -> bytes:
    """Return the bytes of a small remote file, which is not cached. Raises OSError or ValueError."""
    open_body = _opener(address)

    def whole() -> bytes:
        with open_body(0, "") as body:
            return b"".join(iter(body.read, b""))

    return _persistently(whole)


def _opener(address: str) -> Opener:
    """Return what opens a file at a byte of a version (see ``open_web``). Raises ValueError if a package is missing."""
    if is_web(address):
        return partial(open_web, address)
    system, path = file_system(address)

    @contextlib.contextmanager
    def open_stored(start: int, version: str) -> Iterator[Body]:
        size = int(system.info(path)["size"])
        with system.open(path, "rb") as file:
            yield Body(read=partial(file.read, CHUNK), size=size)

    return open_stored


def _persistently(work: Callable[[], Result]) -> Result:
    """Do work that needs a network, and again after growing pauses if it fails. The last error is raised."""
    for attempt in range(1, TRIES + 1):
        try:
            return work()
        except (FileNotFoundError, PermissionError, RefusedError):
            raise
        except Exception:  # clients of object stores raise various errors
            if attempt == TRIES:
                raise
            time.sleep(download_seconds() / 15 * 4 ** (attempt - 1))
    raise AssertionError("unreachable")


@dataclass
class _Part:
    """A file that is being downloaded."""

    address: str
    path: Path
    done: int = 0
    size: int = -1
    version: str = ""
    heard: float = field(default_factory=time.monotonic)
    """When bytes last came."""

    def describe(self) -> str:
        """Return a line about the download. Loader processes only tell of one that does not get on."""
        silent = time.monotonic() - self.heard
        if silent < _SILENT and parent_process() is not None:
            return ""
        whole = f" of {self.size / 1e6:.1f}" if self.size >= 0 else ""
        wait = f", nothing came for {silent:.0f} s" if silent >= _SILENT else ""
        return f"downloading {self.address}: {self.done / 1e6:.1f}{whole} MB{wait}"

    def take(self, body: Body) -> None:
        """Write the bytes of a body. Raises OSError if some are missing."""
        with self.path.open("rb+") as file:
            file.seek(self.done)
            while chunk := body.read():
                file.write(chunk)
                self.done, self.heard = self.done + len(chunk), time.monotonic()
            file.truncate()
        if self.size not in (-1, self.done):
            raise OSError(f"only {self.done} of {self.size} bytes came")


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
        part = _Part(address, Path(f"{copy}.part"))
        with no_time_limit(), waiting(part.describe), _locked(Path(f"{copy}.lock")):
            with contextlib.suppress(FileNotFoundError):  # downloaded by another process in the meantime
                return _opened(copy)
            try:
                return _persistently(partial(self._fetch, _opener(address), part, copy))
            finally:
                part.path.unlink(missing_ok=True)

    def _fetch(self, open_body: Opener, part: _Part, copy: Path) -> int:
        """Download a file, or the rest of it, and return it as a file descriptor."""
        with open_body(part.done, part.version) as body:
            part.done, part.size, part.version = body.start, body.size, body.version
            with _locked(self.folder / "lock"):
                self._make_room(max(body.size, 0), copy)
                with part.path.open("ab") as file:
                    file.truncate(max(body.size, body.start))  # so that other processes count the reserved space
            part.take(body)
        descriptor = os.open(part.path, os.O_RDONLY)
        if _is_text(descriptor):
            os.close(descriptor)
            raise RefusedError("the server sent a web page or other text, no shard; a login may be needed")
        os.replace(part.path, copy)  # from here on another process may delete it
        return descriptor

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
    if _is_text(descriptor):  # earlier versions kept web pages
        os.close(descriptor)
        copy.unlink(missing_ok=True)
        raise FileNotFoundError
    os.utime(descriptor)  # what is used stays
    return descriptor


def _is_text(descriptor: int) -> bool:
    """Return whether a file is no tar archive but text. The first header of an archive holds bytes of zero."""
    start = os.pread(descriptor, 512, 0)
    return bool(start) and b"\0" not in start


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
