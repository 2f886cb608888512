"""``maskkit embed``: the features of a data set as a file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from maskkit.commands.open_run import open_run
from maskkit.commands.words import Modules, import_modules, read_words


@dataclass(frozen=True, kw_only=True)
class Embed:
    """Write features [n D], paths [n] and, where folders name classes, labels [n] to an .npz file."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Folder of a run."""
    data: str
    """Folder, glob, list file or array."""
    out: Path
    """File to write (.npz)."""
    pool: Literal["mean", "prefix"] = "mean"
    """Mean of all tokens, or the class token (prefix)."""
    batch: int = 64
    """Samples encoded at a time."""
    device: str = "auto"
    """cpu or cuda; auto takes a GPU where there is one."""
    workers: int = 2
    """Processes that read samples."""
    modules: Modules = ()

    def run(self) -> None:
        """Encode all samples and write the file."""
        import numpy as np

        from maskkit.evaluate.features import embed, pick_device

        device = pick_device(self.device)
        import_modules(self.modules)
        opened = open_run(self.run_folder)
        source = opened.data.at(self.data).open(opened.model.tokenizer, train=False)
        found = embed(opened.model, source, pool=self.pool, batch=self.batch, device=device, workers=self.workers)
        labels = np.array([found.classes[n] if n >= 0 else "" for n in found.labels])
        self.out.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self.out, features=found.features, paths=np.array(found.paths), labels=labels)
        shape = list(found.features.shape)
        print(f"{self.out}: features {shape}, {len(found.classes)} classes, {found.skipped} left out")


def main(words: list[str]) -> int:
    """Run the command."""
    read_words(Embed, "embed", words).run()
    return 0
