"""Distributed training: the processes of a run, and the sharding of a model over them.

torchrun starts the processes. Without it there is one process and no process group, and every collective below returns
its input, so that the loop needs no cases. ``rank`` is the number of a process and ``size`` the number of processes.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from maskkit.layers import BlockStack

Sharding = Literal["full", "node", "none"]


@dataclass(frozen=True)
class World:
    """The processes of a run, as seen by one of them."""

    device: torch.device
    rank: int = 0
    size: int = 1
    mesh: DeviceMesh | None = None
    """Device mesh of replicas x shards, if there are several processes."""
    files: Any = None
    """A separate gloo group for checkpoints, which a thread may write while a step uses the default group."""

    @property
    def is_main(self) -> bool:
        """True for the process that writes files and prints."""
        return self.rank == 0

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Return the sums of numbers over all processes."""
        if self.size == 1:
            return list(numbers)
        summed = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(summed)
        return summed.tolist()

    def sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the sum of a tensor of any shape over all processes, for parts of a model (``step.World``)."""
        summed = tensor.detach().clone()
        if self.size > 1:
            dist.all_reduce(summed)
        return summed

    def average_statistics(self, model: nn.Module) -> None:
        """Average running statistics (BatchNorm's) over all processes, so that saved and evaluated models agree."""
        if self.size == 1:
            return
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        kept = [each for norm in norms for each in (norm.running_mean, norm.running_var) if each is not None]
        if kept:
            together = torch.cat(kept)
            dist.all_reduce(together)
            for each, mean in zip(kept, torch.split(together / self.size, [len(each) for each in kept]), strict=True):
                each.copy_(mean)

    def gather(self, value: Any) -> list[Any]:
        """Return the Python objects of all processes, ordered by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait_for_files(self) -> None:
        """Wait for all processes, on the checkpoint group."""
        if self.size > 1:
            dist.barrier(group=self.files)


@contextlib.contextmanager
def init_distributed(device: str, sharding: Sharding = "full") -> Iterator[World]:
    """Join the processes that torchrun started, or yield a world of one. ``device`` is cpu, cuda or auto."""
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(torch.device(kind))
        return
    place = torch.device(kind)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(place)
    ours = not dist.is_initialized()
    if ours:
        # A restarted agent keeps its store (torch 2.14), with addresses of ended processes under unchanged names. A
        # process that reads such an address before its owner has rewritten it fails, so each restart uses its own
        # prefix.
        store, rank, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
        life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = dist.PrefixStore(f"life-{life}", store)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        rank, size = dist.get_rank(), dist.get_world_size()
        mesh = init_device_mesh(place.type, _mesh_shape(sharding, size), mesh_dim_names=("replicate", "shard"))
        yield World(place, rank, size, mesh, dist.new_group(backend="gloo"))
    finally:
        if ours:
            dist.destroy_process_group()


def has_lost_process(error: BaseException) -> bool:
    """Return whether an error is that of a collective whose other process is gone, or has not answered in time.

    gloo raises plain RuntimeErrors, which only their text tells apart from others.
    """
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    gloo = type(error) is RuntimeError and ("gloo" in str(error) or "Connection closed by peer" in str(error))
    return several and (gloo or isinstance(error, dist.DistError))


def distribute(model: nn.Module, world: World, *, recompute: bool = False, compiled: bool = False) -> None:
    """Prepare a model for training, in place. The comments give the reasons for the order of the steps."""
    stacks = [module for module in model.modules() if isinstance(module, BlockStack)]
    # 1. Recomputing comes first, so that what is compiled and gathered next is the function that runs twice.
    for stack in stacks:
        stack.recompute = recompute
    # 2. Compiling block by block: one small graph serves all blocks, and collectives stay outside of it.
    if compiled:
        for stack in stacks:
            for block in stack:
                block.compile()
    # 3. Sharding comes last, around what is compiled: while a block computes, the next one's weights are gathered.
    #    Weights stay float32 and autocast alone chooses bfloat16, so that one process and many compute the same.
    if world.mesh is not None:
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)  # is never written
        for stack in stacks:
            for block in stack:
                fully_shard(block, mesh=world.mesh)
        fully_shard(model, mesh=world.mesh)


def set_gradient_sync(model: nn.Module, now: bool) -> None:
    """Return whether the next backward pass shares gradients; with accumulation only the last one need."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(now)


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """Return an unsharded copy of a tensor of any shape. All processes must call it."""
    return tensor.full_tensor() if isinstance(tensor, dist.tensor.DTensor) else tensor


def _mesh_shape(sharding: Sharding, size: int) -> tuple[int, int]:
    """Return the numbers of replicas and shards. With one shard the model is replicated. Raises ValueError."""
    shards = {"full": size, "node": int(os.environ.get("LOCAL_WORLD_SIZE", size)), "none": 1}[sharding]
    if size % shards:
        raise ValueError(f"sharding={sharding!r} needs the same number of processes on each node, {size} in all")
    return size // shards, shards
