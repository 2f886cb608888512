"""A loss that is not finite: the step is left out and written down; several in a row take the run back."""

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn


@dataclass
class NonFinite:
    """The steps of a run whose loss or gradient was NaN or infinite, in ``not_finite.jsonl``."""

    file: Path
    writes: bool
    """Whether this process keeps the file."""
    limit: int
    """So many in a row take the run back to its last checkpoint."""
    max_rewinds: int
    count: int = 0
    in_a_row: int = 0

    def take_up(self, step: int) -> None:
        """Count what an earlier part of the run met before ``step``; what follows will be met again."""
        if self.file.exists():
            lines = [json.loads(line) for line in self.file.read_text().splitlines()]
            self.count = sum(line["step"] < step for line in lines)

    def good(self) -> None:
        """Note that a step was taken."""
        self.in_a_row = 0

    def bad(self, step: int, loss: float, norm: float, paths: list[str]) -> None:
        """Write down a step that was left out, and which samples it was made of."""
        self.count += 1
        self.in_a_row += 1
        if self.writes:
            with self.file.open("a") as file:  # as text, since JSON has no word for them
                file.write(json.dumps({"step": step, "loss": str(loss), "grad_norm": str(norm), "paths": paths}) + "\n")

    def must_rewind(self, rewinds: int) -> bool:
        """Return whether the run has to go back. Raises FloatingPointError when it has done so too often."""
        if self.in_a_row < self.limit:
            return False
        if rewinds >= self.max_rewinds:
            raise FloatingPointError(
                f"the loss was not finite {self.in_a_row} times in a row, after going back {rewinds} times; "
                f"{self.file} names the samples; lower --lr (in a recipe: --optim.lr), set --clip 1, or use "
                "--precision fp32"
            )
        self.in_a_row = 0
        return True


def copy_buffers(model: nn.Module) -> list[tuple[Tensor, Tensor]]:
    """Copy what a forward pass changes by itself: BatchNorm has read a batch before anyone knows that it is bad.

    Returns each buffer with its copy. Modules in evaluation mode, such as teachers, change nothing and are left out.
    """
    modules = [module for module in model.modules() if module.training]
    return [(buffer, buffer.clone()) for module in modules for buffer in module.buffers(recurse=False)]


def restore_buffers(copies: list[tuple[Tensor, Tensor]]) -> None:
    """Take those changes back."""
    for buffer, copied in copies:
        buffer.copy_(copied)
