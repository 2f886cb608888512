"""``maskkit embed``: write the features of a data set to a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskkit.commands.open_model import open_model
from maskkit.commands.words import Model, Modules, check_out, import_modules, read_words
from maskkit.files import whole_file
from maskkit.printing import tell
from maskkit.ranges import Processes, Samples


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Write features [n D], paths [n] and class labels [n] (empty if unknown) to an .npz file."""

    model: Model
    data: str
    """Folder, glob, list file, array or tar shards."""
    out: Path
    """File to write (.npz)."""
    pool: Literal["mean", "prefix"] = "mean"
    """Pooling: the mean of all tokens, or the class token (prefix)."""
    batch: Samples = 64
    """Number of samples per batch."""
    device: str = "auto"
    """cpu or cuda; auto selects a GPU if one is available."""
    workers: Processes = 2
    """Number of worker processes that read samples."""
    modules: Modules = ()

    def run(self) -> None:
        """Encode all samples and write the file."""
        import numpy as np

        from maskkit.evaluate.features import embed, pick_device

        device = pick_device(self.device)
        import_modules(self.modules)
        opened = open_model(self.model)
        check_out(self.out, (".npz",))
        source = opened.data.at(self.data).open(opened.model.tokenizer, train=False)
        found = embed(opened.model, source, pool=self.pool, batch=self.batch, device=device, workers=self.workers)
        labels = np.array([found.classes[n] if n >= 0 else "" for n in found.labels])
        with whole_file(self.out) as aside, aside.open("wb") as file:  # numpy adds .npz to names that end otherwise
            np.savez(file, features=found.features, paths=np.array(found.paths), labels=labels)
        shape = list(found.features.shape)
        tell(f"{self.out}: features {shape}, {len(found.classes)} classes, {found.skipped} left out")


def main(words: list[str]) -> int:
    """Run the command and return the exit code."""
    read_words(Embed, "embed", words).run()
    return 0
