"""The manifest of a checkpoint: the progress of the run, and the size and checksum of every file."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from maskkit.files import sync, whole_file

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


def read_progress(path: Path) -> Progress:
    """Return the progress of a checkpoint. Manifests store it under the key "place", the name in the first version."""
    return Progress(**json.loads((path / MANIFEST).read_text())["place"])


def find_damage(path: Path, rank: int = 0, size: int = 1) -> str | None:
    """Return what is wrong with a checkpoint and in which file, or None. Every ``size``-th file is read."""
    try:
        text = (path / MANIFEST).read_text()
        record = json.loads(text)
        if text != _manifest(record["place"], record["files"]):
            return f"{MANIFEST} does not match its own checksum"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, KeyError, TypeError):
        return f"{MANIFEST} is not readable"
    for name, facts in sorted(record["files"].items())[rank::size]:
        file = path / name
        if not file.exists():
            return f"{name} is missing"
        if file.stat().st_size != facts["bytes"]:
            return f"{name} has {file.stat().st_size} bytes instead of {facts['bytes']}"
        if _checksum(file) != facts["sha256"]:
            return f"{name} does not match its checksum"
    return None


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
