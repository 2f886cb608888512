"""The manifest of a checkpoint: the progress of the run, and the size and checksum of every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from maskkit.engine.config import from_plain
from maskkit.files import parse_json, short_reason, sync, whole_file

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Progress:
    """The progress of a run."""

    step: int = 0
    rewinds: int = 0
    """Number of times that the run returned to a checkpoint because the loss was not finite. Each changes the order of
    the data."""
    micro_batch: int = 0
    samples: int = 0
    """Number of samples in the data set. The order of the data depends on it."""
    metrics_bytes: int = 0
    """Length of metrics.jsonl in bytes. Later lines belong to steps that will be repeated."""
    skipped_bytes: int = 0


@dataclass(frozen=True)
class _Facts:
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Manifest:
    """The contents of the file. "place" is the name of the progress since the first version."""

    sha256: str
    place: Progress
    files: Mapping[str, Mapping[str, object]]


def read_progress(path: Path) -> Progress:
    """Return the progress of a checkpoint. Raises ValueError if its manifest is not one."""
    return _read(path)[0]


def find_damage(path: Path, rank: int = 0, size: int = 1) -> str | None:
    """Return what is wrong with a checkpoint and in which file, or None. Every ``size``-th file is read."""
    try:
        _, files = _read(path)
        strays = sorted(
            file.name for file in path.iterdir() if file.suffix == ".safetensors" and file.name not in files
        )
        if strays:  # torch would read it as a part of the checkpoint
            return f"{strays[0]} does not belong to it; delete that file"
        for name, facts in sorted(files.items())[rank::size]:
            length = (path / name).stat().st_size
            if length != facts.bytes:
                return f"{name} has {length} bytes instead of {facts.bytes}"
            if _checksum(path / name) != facts.sha256:
                return f"{name} does not match its checksum"
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({short_reason(error)})"
        return f"{Path(error.filename or path).name} {reason}"
    except ValueError as error:
        return f"{MANIFEST} {error}"
    return None


def _read(path: Path) -> tuple[Progress, dict[str, _Facts]]:
    """Return the contents of a manifest: the progress, and the facts of every file by its name.

    Raises ValueError, whose message continues the name of the manifest, if it is damaged or was edited.
    """
    raw = (path / MANIFEST).read_bytes()
    try:
        record = parse_json(raw)
        if not isinstance(record, dict):
            raise ValueError("it holds no object")
        found = from_plain(_Manifest, record)
        files = {name: from_plain(_Facts, facts, name) for name, facts in found.files.items()}
        if min(asdict(found.place).values()) < 0 or not all(Path(name).name == name for name in files):
            raise ValueError("it holds a negative number or a path")
    except ValueError as error:
        raise ValueError(f"is not readable ({short_reason(error)})") from None
    if raw != _manifest(record["place"], record["files"]).encode():
        raise ValueError("does not match its own checksum")
    return found.place, files


def seal(aside: Path, progress: Progress) -> None:
    """Flush all files to disk and write the manifest."""
    files = {}
    for file in sorted(aside.iterdir()):
        sync(file)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": _checksum(file)}
    with whole_file(aside / MANIFEST) as written:
        written.write_text(_manifest(asdict(progress), files))
    sync(aside)


def _manifest(place: Mapping[str, object], files: Mapping[str, object]) -> str:
    """Return a manifest in canonical form with its own checksum, so that any changed byte is detected."""
    content = {"place": place, "files": files}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({"sha256": digest, **content}, sort_keys=True, indent=1) + "\n"


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
