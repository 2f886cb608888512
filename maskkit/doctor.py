"""``maskkit doctor``: what is installed, missing or broken, and the command that mends it."""

import ctypes.util
import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from maskkit.modality import find_modality, modality_names

# Packages that maskkit imports, and packages for single kinds of data: the purpose, and what installs them.
REQUIRED = (
    "torch",
    "torchvision",
    "timm",
    "einops",
    "jaxtyping",
    "safetensors",
    "sklearn",
    "matplotlib",
    "rich",
    "tyro",
)
OPTIONAL = {
    "av": ("reads video", "pip install 'maskkit[video]'"),
    "decord": ("reads video", "pip install 'maskkit[video]'"),
    "torchcodec": ("reads video, with the system's FFmpeg", "pip install torchcodec"),
    "torchaudio": ("computes audio filter banks", "pip install 'maskkit[audio]'"),
    "soundfile": ("reads audio", "pip install 'maskkit[audio]'"),
    "open3d": ("reads point clouds (PLY, PCD)", "pip install 'maskkit[points]'"),
    "trimesh": ("reads meshes", "pip install 'maskkit[points]'"),
    "transformers": ("Hugging Face's models, as a peer in tests and bench", "pip install transformers"),
}


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    subject: str
    fine: bool
    text: str
    mend: str = ""
    needed: bool = False


def main(words: list[str]) -> int:
    """Print the report; exit code 2 when something that is needed is broken."""
    if words:
        print("maskkit doctor takes no arguments" if words[0] not in ("-h", "--help") else __doc__)
        return 0 if words[0] in ("-h", "--help") else 2
    findings = [
        finding for look in (system, required, optional, modalities, devices, kernels, disk) for finding in look()
    ]
    for finding in findings:
        mark = "ok " if finding.fine else "NO " if finding.needed else "-  "
        print(
            f"{mark} {finding.subject:<14} {finding.text}"
            + (f"\n{'':<18} mend: {finding.mend}" if finding.mend else "")
        )
    broken = [finding.subject for finding in findings if finding.needed and not finding.fine]
    print(f"\nbroken: {', '.join(broken)}" if broken else "\nall that maskkit needs is here")
    return 2 if broken else 0


def system() -> Iterator[Finding]:
    """Report Python and the processor."""
    yield Finding(
        "python", sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.system()}", needed=True
    )
    yield Finding("processor", True, f"{os.cpu_count()} cores, {platform.machine()}")


def required() -> Iterator[Finding]:
    """Import the packages that maskkit needs."""
    for name in REQUIRED:
        yield _imported(name, "", "pip install --upgrade maskkit", needed=True)


def optional() -> Iterator[Finding]:
    """Import the packages that single modalities need."""
    for name, (purpose, mend) in OPTIONAL.items():
        if name == "open3d" and importlib.util.find_spec("open3d") and not ctypes.util.find_library("usb-1.0"):
            if importlib.util.find_spec("libusb_package") is None:
                text = "installed, but the system lacks libusb-1.0.so.0, without which it does not import"
                yield Finding(name, False, text, "pip install libusb-package")
                continue
        yield _imported(name, purpose, mend, preload=_libusb if name == "open3d" else None)
    yield from sound_formats()
    ffmpeg = shutil.which("ffmpeg")
    yield Finding("ffmpeg", ffmpeg is not None, ffmpeg or "not on the path: only re-encoding video needs it")


def sound_formats() -> Iterator[Finding]:
    """Say which audio formats the libsndfile that soundfile found can read; before 1.1 it knew no MP3."""
    if importlib.util.find_spec("soundfile") is None:
        return
    try:
        module = importlib.import_module("soundfile")
    except Exception:  # noqa: BLE001  # told above
        return
    known = [name for name in ("WAV", "FLAC", "OGG", "MP3") if name in module.available_formats()]
    text = f"{module.__libsndfile_version__}, reads {', '.join(known)} and {len(module.available_formats())} in all"
    mend = "" if "MP3" in known else "pip install --upgrade soundfile, or convert MP3 with ffmpeg"
    yield Finding("libsndfile", "MP3" in known, text, mend)


def modalities() -> Iterator[Finding]:
    """Ask each modality that reports findings."""
    for name in modality_names():
        try:
            findings = find_modality(name).findings
            found = list(findings()) if findings is not None else []
        except Exception as error:  # noqa: BLE001  # a broken modality is a finding
            yield Finding(name, False, f"fails: {type(error).__name__}: {error}")
            continue
        for subject, fine, text, mend in found:
            yield Finding(subject, fine, text, mend)


def devices() -> Iterator[Finding]:
    """Report where models can be trained, and in which precision."""
    import torch

    from maskkit.engine.device import best_precision

    for number in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(number).total_memory / 2**30
        yield Finding(f"cuda:{number}", True, f"{torch.cuda.get_device_name(number)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        built = torch.version.cuda
        yield Finding(
            "cuda", False, f"no GPU that torch {torch.__version__} (CUDA {built}) can use; training runs on the CPU"
        )
    yield Finding("precision", True, f"{best_precision()} is the fastest here")


def kernels() -> Iterator[Finding]:
    """Report which hand-written kernels can run."""
    import torch

    if importlib.util.find_spec("triton") is None:
        yield Finding("triton", False, "not installed; every operation has a PyTorch form, which is used")
    else:
        where = "on the GPU" if torch.cuda.is_available() else "only in its interpreter here, as there is no GPU"
        yield Finding("triton", True, f"{importlib.metadata.version('triton')}, {where}")


def disk() -> Iterator[Finding]:
    """Report whether the usual folders can be written to, and their free space."""
    for name, place in (("current folder", Path.cwd()), ("temporary", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(place).free / 2**30
        writable = os.access(place, os.W_OK)
        text = f"{place}: {free:.0f} GiB free" + ("" if writable else ", not writable")
        yield Finding(
            name, writable and free > 1, text, "" if writable and free > 1 else "free some space", needed=False
        )


def _imported(
    name: str, purpose: str, mend: str, *, needed: bool = False, preload: Callable[[], None] | None = None
) -> Finding:
    """Import a package for real: what is installed may still be broken."""
    if importlib.util.find_spec(name) is None:
        return Finding(name, False, f"not installed{': it ' + purpose if purpose else ''}", mend, needed)
    try:
        if preload is not None:
            preload()
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001  # a broken package may raise anything
        reason = " ".join(str(error).split())[:160]
        return Finding(name, False, f"installed, but fails: {type(error).__name__}: {reason}", mend, needed)
    version = getattr(module, "__version__", "") or "installed"
    return Finding(name, True, f"{version}{' · ' + purpose if purpose else ''}", needed=needed)


def _libusb() -> None:
    """Load the libusb that libusb-package carries, for an open3d on a system without one."""
    if not ctypes.util.find_library("usb-1.0") and importlib.util.find_spec("libusb_package"):
        library = importlib.import_module("libusb_package").get_library_path()
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
