"""``maskkit reconstruct``: draw inputs, their visible parts and the model's reconstructions."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from maskkit.commands.open_model import OpenModel, open_model
from maskkit.commands.words import Model, Modules, check_out, import_modules, read_words
from maskkit.files import whole_files
from maskkit.printing import say, tell
from maskkit.ranges import Count, Seed

if TYPE_CHECKING:
    from maskkit.batches import Sample


FIGURES = (".png", ".gif", ".jpg", ".jpeg", ".webp", ".pdf", ".svg")  # not every modality draws all of them


@dataclass(frozen=True, kw_only=True)
class Reconstruct:
    """Draw inputs, their visible parts and a trained model's reconstructions."""

    model: Model
    inputs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Files, folders, globs, list files, arrays or tar shards."""
    out: Path
    """Figure to write (.png)."""
    seed: Seed = 0
    """Seed of the mask."""
    limit: Count = 16
    """Maximum number of samples to draw."""
    modules: Modules = ()

    def run(self) -> None:
        """Read the inputs, run the model, write the figure."""
        import torch

        from maskkit.batches import stack
        from maskkit.seeds import generator

        if not self.inputs:
            raise ValueError(
                "reconstruct needs at least one input: maskkit reconstruct MODEL INPUT... --out FIGURE.png"
            )
        import_modules(self.modules)
        opened = open_model(self.model)
        check_out(self.out, FIGURES)
        samples = self._read(opened)
        batch = stack(samples)
        with torch.no_grad():
            output = opened.model.eval()(batch, rng=generator(self.seed))
        with whole_files(self.out) as aside:
            opened.modality.draw(batch, output, opened.model, aside)
        tell(f"{self.out}: {len(samples)} samples, loss {output.loss.item():.4f}")

    def _read(self, opened: OpenModel) -> "list[Sample]":
        """Return at most ``limit`` samples. Files that cannot be read are reported and left out."""
        from maskkit.data.source import BadSampleError, Key, num_items, read_sample
        from maskkit.seeds import generator

        samples: list[Sample] = []
        for name in self.inputs:
            source = opened.data.at(name).open(opened.model.tokenizer, train=False)
            left = num_items(source) - (self.limit - len(samples))
            if left > 0:
                say(f"{name}: {left} further samples are not drawn (--limit {self.limit})")
            for index in range(min(num_items(source), self.limit - len(samples))):
                try:
                    samples.append(read_sample(source, Key.of(index), generator(0)))
                except BadSampleError as error:
                    say(f"left out {error}")
        if not samples:
            raise ValueError(f"none of the inputs can be read: {', '.join(self.inputs)}")
        return samples


def main(words: list[str]) -> int:
    """Run the command and return the exit code."""
    read_words(Reconstruct, "reconstruct", words).run()
    return 0
