"""``maskkit export``: write a run's weights in another layout."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from maskkit.commands.open_model import open_model
from maskkit.commands.words import Model, Modules, check_out, holds_run, import_modules, read_words
from maskkit.printing import say, tell


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a run's weights in the layout of timm, transformers or the authors' code."""

    model: Model
    out: Path
    """File to write (.safetensors or .pth). For layout hf, a folder that from_pretrained opens."""
    layout: Literal["maskkit", "timm", "hf", "mae", "videomae", "audiomae", "point-mae"] = "maskkit"
    """maskkit, timm (encoder only), hf (ViTMAEForPreTraining, VideoMAEForPreTraining), or the authors' layouts: mae,
    videomae, audiomae, point-mae."""
    part: Literal["model", "encoder"] = "model"
    """Write the whole model or the encoder only."""
    modules: Modules = ()

    def run(self) -> None:
        """Write the file."""
        from maskkit import weights

        if self.out.resolve() == (Path(self.model) / "model.safetensors").resolve():
            raise ValueError(f"{self.out} is the run's own model; choose another --out")
        if not self.out.suffix and holds_run(self.out):
            raise ValueError(f"{self.out} is the folder of a run, whose files would be lost; choose another --out")
        if self.out.suffix:
            check_out(self.out)
        if self.layout == "hf" and self.out.suffix:
            say("from_pretrained opens a folder with config.json; for one, give --out without a suffix")
        import_modules(self.modules)
        tell(str(weights.save(open_model(self.model).model, self.out, layout=self.layout, part=self.part)))


def main(words: list[str]) -> int:
    """Run the command and return the exit code."""
    read_words(Export, "export", words).run()
    return 0
