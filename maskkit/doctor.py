"""``maskkit doctor``: report what is installed, missing or broken, and the command that fixes it."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maskkit.modality import as_modality

REQUIRED = (
    "torch",
    "torchvision",
    "timm",
    "einops",
    "jaxtyping",
    "safetensors",
    "numpy",
    "PIL",
    "scipy",
    "sklearn",
    "matplotlib",
    "rich",
    "tyro",
    "filelock",
)
"""Modules that every modality needs. They are dependencies of the package."""

Report = tuple[str, bool, str, str]
"""A row of a modality's ``findings()``: subject, whether it works, a line of text, and the command that fixes it."""


@dataclass(frozen=True)
class Finding:
    """One line of the report. ``needed`` is True if maskkit does not work without the subject."""

    subject: str
    fine: bool
    text: str
    mend: str = ""
    needed: bool = False

    def __str__(self) -> str:
        mark = "ok " if self.fine else "NO " if self.needed else "-  "
        mend = f"\n{'':<18} fix: {self.mend}" if self.mend else ""
        return f"{mark} {self.subject:<14} {self.text}{mend}"


def main(words: list[str]) -> int:
    """Print the report and return the exit code: 2 if something that is needed is broken.

    Raises ValueError for arguments.
    """
    if words:
        print("maskkit doctor takes no arguments" if words[0] not in ("-h", "--help") else __doc__)
        return 0 if words[0] in ("-h", "--help") else 2
    sections = (system, required, modalities, devices, kernels, disk)
    broken = []
    for finding in (finding for section in sections for finding in section()):
        print(finding)
        if finding.needed and not finding.fine:
            broken.append(finding.subject)
    print(f"\nbroken: {', '.join(broken)}" if broken else "\neverything that maskkit needs is installed")
    return 2 if broken else 0


def package(name: str, purpose: str, mend: str, preload: Callable[[], None] | None = None) -> Report:
    """Import a package and report on it. An installed package may still fail to import.

    ``purpose`` is a verb phrase, such as "reads video". ``preload`` runs before the import.
    """
    if importlib.util.find_spec(name) is None:
        return name, False, f"not installed{': it ' + purpose if purpose else ''}", mend
    try:
        if preload is not None:
            preload()
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # a broken package may raise anything
        reason = " ".join(str(error).split())[:160]
        return name, False, f"installed, but fails: {type(error).__name__}: {reason}", mend
    version = getattr(module, "__version__", "") or "installed"
    return name, True, f"{version}{' · ' + purpose if purpose else ''}", ""


def system() -> Iterator[Finding]:
    """Report on Python and the processor."""
    version = f"{platform.python_version()} on {platform.system()}"
    yield Finding("python", sys.version_info >= (3, 11), version, needed=True)
    yield Finding("processor", True, f"{os.cpu_count()} cores, {platform.machine()}")


def required() -> Iterator[Finding]:
    """Report on the packages that every modality needs."""
    for name in REQUIRED:
        yield Finding(*package(name, "", "pip install --upgrade maskkit"), needed=True)


def modalities() -> Iterator[Finding]:
    """Report the ``findings()`` of each installed modality: the packages that read its files."""
    entries = importlib.metadata.entry_points(group="maskkit.modalities")
    for entry in sorted(entries, key=lambda entry: entry.name):
        found: Iterable[Report]
        try:
            modality = as_modality(entry.load())
            found = tuple(modality.findings()) if modality.findings is not None else ()
        except Exception as error:  # noqa: BLE001  # a broken modality is reported too
            yield Finding(entry.name, False, f"fails: {type(error).__name__}: {error}")
            continue
        yield from (Finding(*report) for report in found)


def devices() -> Iterator[Finding]:
    """Report the devices for training, and the fastest precision."""
    import torch

    from maskkit.engine.device import best_precision

    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        yield Finding(f"cuda:{number}", True, f"{torch.cuda.get_device_name(number)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        built = f"torch {torch.__version__} (CUDA {torch.version.cuda})"
        yield Finding("cuda", False, f"no GPU that {built} can use; training runs on the CPU")
    yield Finding("precision", True, f"{best_precision()} is the fastest here")


def kernels() -> Iterator[Finding]:
    """Report whether the Triton kernels can run."""
    import torch

    if importlib.util.find_spec("triton") is None:
        yield Finding("triton", False, "not installed; the PyTorch implementations are used")
        return
    where = "on the GPU" if torch.cuda.is_available() else "only in its interpreter, because there is no GPU"
    yield Finding("triton", True, f"{importlib.metadata.version('triton')}, {where}")


def disk() -> Iterator[Finding]:
    """Report free space, and whether the folders that maskkit writes to are writable."""
    for name, place in (("current folder", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free / 2**30
        writable = os.access(place, os.W_OK)
        fine = writable and free > 1
        text = f"{place}: {free:.0f} GiB free" + ("" if writable else ", not writable")
        yield Finding(name, fine, text, "" if fine else "free some space" if writable else "choose a writable folder")
