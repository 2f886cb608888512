"""The device of a run: availability, precision and memory."""

import contextlib
import ctypes
import os
import resource
from pathlib import Path
from typing import Literal

import torch


def peak_memory(device: torch.device) -> int:
    """Return the peak memory in bytes: that of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def total_memory(device: torch.device) -> int:
    """Return the memory in bytes of a GPU, or of this machine or its container."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        size = min(size, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return size


def check_device(name: str) -> None:
    """Raise ValueError if a device cannot be used on this machine."""
    try:
        found = torch.empty(0, device="cpu" if name == "auto" else name).device
        if not torch.amp.is_autocast_available(found.type):  # such as meta, which computes nothing
            raise RuntimeError(f"a {found.type} device does not train models")
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ValueError(f"--device {name} cannot be used here ({reason}); choose cpu, or cuda where it is") from None


def best_precision() -> Literal["bf16", "fp32"]:
    """Return bf16 if the hardware multiplies bfloat16 fast (GPUs since Ampere, CPUs with AMX), else fp32.

    AVX512-BF16 alone is not faster: on such a Xeon its products ran at half the speed of float32 (0.16 to 0.31
    TFLOP/s). There bf16 saves memory but no time, because products are widened to float32 (``kernels/linear.py``).
    """
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if torch.cpu._is_amx_tile_supported() else "fp32"


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Make glibc reuse large freed blocks instead of returning them to the system. Returns whether that succeeded.

    By default glibc returns blocks of some megabytes at once, and every page is mapped and zeroed again in the next
    step: for ViT-B and batch 8 on 2 cores that takes 6 % of a step in float32 and 9 % in bfloat16. The process then
    keeps its peak memory until it ends. Other C libraries are not changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
