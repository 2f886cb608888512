"""Steps whose loss is not finite: they are skipped and recorded, and several in a row rewind the run."""

import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from maskkit.files import read_json_lines


@dataclass
class NonFinite:
    """The steps of a run whose loss or gradient was NaN or infinite, in ``not_finite.jsonl``."""

    file: Path
    writes: bool
    """True if this process writes the file."""
    limit: int
    """Number of consecutive bad steps after which the run returns to its last checkpoint."""
    max_rewinds: int
    count: int = 0
    in_a_row: int = 0

    def take_up(self, step: int) -> None:
        """Count the records before ``step`` of an earlier part of the run, and drop the later ones."""
        if self.file.exists():
            steps = [line.get("step") for line in read_json_lines(self.file)]
            self.count = sum(each < step for each in steps if isinstance(each, int))

    def good(self) -> None:
        """Record a good step."""
        self.in_a_row = 0

    def bad(self, step: int, loss: float, norm: float, paths: list[str]) -> None:
        """Record a skipped step and the paths of its samples."""
        self.count += 1
        self.in_a_row += 1
        if self.writes:
            with self.file.open("a") as file:  # as text, because JSON has no NaN and infinity
                file.write(json.dumps({"step": step, "loss": str(loss), "grad_norm": str(norm), "paths": paths}) + "\n")

    def must_rewind(self, rewinds: int) -> bool:
        """Return whether the run must return to its last checkpoint. Raises FloatingPointError after too many times."""
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
    """Copy the buffers that a forward pass changes, such as BatchNorm's, to restore them after a bad step.

    Returns each buffer, of any shape, with its copy. Modules in evaluation mode, such as teachers, are left out.
    """
    modules = [module for module in model.modules() if module.training]
    return [(buffer, buffer.clone()) for module in modules for buffer in module.buffers(recurse=False)]


def restore_buffers(copies: list[tuple[Tensor, Tensor]]) -> None:
    """Restore buffers, of any shape, from their copies."""
    for buffer, copied in copies:
        buffer.copy_(copied)
