"""One step of a run: forward and backward passes of micro-batches, and the update of the weights."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from maskkit.data.loader import Batch
from maskkit.engine.distributed import World, full_tensor, set_gradient_sync
from maskkit.model import MaskedModel
from maskkit.optim import clip_gradients
from maskkit.seeds import generator, seed_of
from maskkit.types import Output

MASKS = 2**31  # identifies the random stream of masks; no epoch reaches this number


@dataclass
class Pass:
    """The results of this process's share of the micro-batches of a step."""

    loss: Tensor
    """This process's part of the mean loss of the step."""
    seen: list[Batch] = field(default_factory=list)
    waited: float = 0.0
    """Seconds spent waiting for data."""
    numbers: dict[str, tuple[Tensor, int]] = field(default_factory=dict)
    """Sums and counts of terms and metrics, by name."""

    def add(self, name: str, value: Tensor) -> None:
        """Add a scalar to the sum of its name."""
        total, count = self.numbers.get(name, (torch.zeros_like(value), 0))
        self.numbers[name] = (total + value.detach(), count + 1)

    def means(self, world: World) -> dict[str, float]:
        """Return the mean of each number over the micro-batches of all processes, which must all call it."""
        gathered = world.gather({name: (total.item(), count) for name, (total, count) in self.numbers.items()})
        names = dict.fromkeys(name for each in gathered for name in each)
        sums = {name: [each[name] for each in gathered if name in each] for name in names}
        return {name: sum(total for total, _ in rows) / sum(count for _, count in rows) for name, rows in sums.items()}


def accumulate(
    model: MaskedModel,
    batches: Iterator[Batch],
    num_micro_batches: int,
    run_seed: int,
    step: int,
    *,
    world: World,
    autocast: AbstractContextManager[object],
) -> Pass:
    """Accumulate the gradients of this process's micro-batches, each with its own random seed."""
    done = Pass(loss=torch.zeros((), device=world.device))
    for number in range(world.rank, num_micro_batches, world.size):
        asked = time.perf_counter()
        batch = next(batches)
        done.waited += time.perf_counter() - asked
        torch.manual_seed(seed_of(run_seed, step, number))  # dropout depends on the micro-batch alone, as masks do:
        rng = generator(run_seed, MASKS, step, number)  # on neither the processes nor the past
        set_gradient_sync(model, now=number + world.size >= num_micro_batches)
        with autocast:
            out: Output = model(batch.samples.to(world.device, non_blocking=True), rng=rng)
        # Gradients are averaged over processes when they are reduced.
        (out.loss * world.size / num_micro_batches).backward()  # type: ignore[no-untyped-call]
        done.loss += out.loss.detach() / num_micro_batches
        done.seen.append(batch)
        terms = {f"loss/{name}": value for name, value in out.terms.items()} if len(out.terms) > 1 else {}
        for name, value in (terms | dict(out.metrics)).items():
            done.add(name, value)
    return done


def gradient_norm(model: MaskedModel) -> Tensor:
    """Return the norm of all gradients, a scalar which is the same in every process."""
    return full_tensor(torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None]))


def update(optimizer: torch.optim.Optimizer, norm: Tensor, clip: float | None) -> None:
    """Clip the gradients to a norm of ``clip`` and update the weights. ``norm`` is a scalar, that of all gradients."""
    clip_gradients(optimizer, clip, norm)
    optimizer.step()
