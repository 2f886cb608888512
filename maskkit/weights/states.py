"""State dicts as other programs write them: names under wrappers, and values that are no weights."""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

# What DDP, torch.compile, FSDP and activation checkpointing put into names: the first in front, the others anywhere.
_WRAPPERS = re.compile(r"^(?:module\.)+|(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.(?:module\.)?")
# Attributes under which trainers, such as Lightning's, and averages keep a model.
_OWNERS = ("model", "net", "network", "backbone", "ema_model", "student", "teacher", "_forward_module")
_COUNTER = "n_averaged"  # of torch's AveragedModel


def unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the names of the model itself. A trainer's prefix is taken off if all names share it.

    >>> list(unwrapped({"model.module.norm.weight": torch.ones(1)}))
    ['norm.weight']
    """
    plain = {_WRAPPERS.sub("", name): tensor for name, tensor in state.items() if name != _COUNTER}
    owner = next(iter(plain), "").partition(".")[0] + "."
    if owner[:-1] not in _OWNERS or not all(name.startswith(owner) for name in plain):
        return plain
    return unwrapped({name.removeprefix(owner): tensor for name, tensor in plain.items()})


def check_tensors(items: Iterable[tuple[object, object]], where: str) -> None:
    """Raise ValueError unless names are texts, and values dense tensors that hold numbers."""
    for name, value in items:
        if not isinstance(name, str):
            raise ValueError(f"{where}: {name!r} is no name of a weight; give the state dict of a model")
        if not isinstance(value, Tensor):
            raise ValueError(f"{where}: {name} is a {type(value).__name__}, not a tensor; leave it out")
        if value.layout != torch.strided or value.is_nested or value.is_meta:
            kind = "meta" if value.is_meta else "nested" if value.is_nested else "sparse"
            raise ValueError(f"{where}: {name} is a {kind} tensor; weights must be dense and hold numbers")


def check_numbers(state: Mapping[str, Tensor], where: str) -> None:
    """Raise ValueError for weights that are no floats of 16 bits or more, or not finite: damaged, or quantised."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and tensor.itemsize > 1:
            if not bool(tensor.float().isfinite().all()):  # numbers of 64 bits may be too large for 32
                raise ValueError(f"{where}: {name} holds NaN or infinite numbers: damaged, or training diverged")
        elif tensor.ndim:
            kind = str(tensor.dtype).removeprefix("torch.")
            raise ValueError(f"{where}: {name} is {kind}; weights must be floats, so convert quantised ones first")
