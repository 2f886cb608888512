"""``maskkit probe``: measure the accuracy of classifiers on frozen features."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from maskkit.commands.open_model import OpenModel, open_model
from maskkit.commands.words import Model, Modules, check_out, import_modules, read_words
from maskkit.files import whole_file
from maskkit.ranges import Count, Processes, Samples, Seed

if TYPE_CHECKING:
    from maskkit.evaluate.features import Features
    from maskkit.evaluate.probe import Kind
    from maskkit.model import MaskedModel

RAW = "raw contents"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Measure the accuracy of k nearest neighbours and a linear classifier on frozen features."""

    model: Model
    data: str
    """Labelled data: a folder with one sub-folder per class, a list with labels, or an .npz file with labels."""
    test_data: str | None = None
    """Labelled test data in the same form. By default a fifth of each class of --data."""
    kind: Literal["all", "knn", "linear"] = "all"
    """Probe to fit: k nearest neighbours (knn), a linear classifier (linear), or both (all)."""
    per_class: Count | None = None
    """Number of labels per class to fit to. All other samples are test data."""
    pool: Literal["mean", "prefix"] = "mean"
    """Pooling: the mean of all tokens, or the class token (prefix)."""
    baselines: bool = False
    """Also measure raw contents (reduced by PCA) and the untrained encoder."""
    seed: Seed = 0
    """Seed of the split and of the untrained encoder."""
    out: Path | None = None
    """JSON file to write the accuracies to."""
    batch: Samples = 64
    """Number of samples per batch."""
    device: str = "auto"
    """cpu or cuda; auto selects a GPU if one is available."""
    workers: Processes = 2
    """Number of worker processes that read samples."""
    modules: Modules = ()

    def run(self) -> None:
        """Encode the data with all encoders, fit the probes, print and write the accuracies."""
        from maskkit.evaluate.features import pick_device

        if self.out is not None:
            check_out(self.out)
        device = pick_device(self.device)
        import_modules(self.modules)
        opened = open_model(self.model)
        encoders = self._encoders(opened)
        fit = self._features(opened, encoders, self.data, device)
        first = next(iter(fit.values()))
        if not first.classes:
            raise ValueError(
                f"{self.data} has no classes; put each class into a sub-folder, or give a list with labels"
            )
        test = None
        if self.test_data is not None:
            test = self._features(opened, encoders, self.test_data, device)
            found = next(iter(test.values())).classes
            if found != first.classes:
                raise ValueError(
                    f"{self.test_data} has classes {found}, {self.data} has {first.classes}; name them alike"
                )
        self._report(fit, test)

    def _encoders(self, opened: OpenModel) -> "dict[str, MaskedModel | None]":
        """Return what is measured; None stands for raw contents."""
        import torch

        from maskkit.model import MaskedModel
        from maskkit.parts import build_as, describe

        if not self.baselines:
            return {"pretrained": opened.model}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)  # the same untrained weights each time
            untrained = build_as(MaskedModel, describe(opened.model))
        return {RAW: None, "untrained": untrained, "pretrained": opened.model}

    def _features(
        self, opened: OpenModel, encoders: "Mapping[str, MaskedModel | None]", data: str, device: str
    ) -> "dict[str, Features]":
        from maskkit.evaluate.features import embed_all

        source = opened.data.at(data).open(opened.model.tokenizer, train=False)
        return embed_all(encoders, source, pool=self.pool, batch=self.batch, device=device, workers=self.workers)

    def _report(self, fit: "dict[str, Features]", test: "dict[str, Features] | None") -> None:
        """Fit the probes, print and write the accuracies."""
        from maskkit.evaluate.probe import accuracies, halves

        kinds: tuple[Kind, ...] = ("knn", "linear") if self.kind == "all" else (self.kind,)
        results: dict[str, dict[str, float]] = {}
        notes: dict[str, str] = {}
        for name, features in fit.items():
            pair = halves(features, test[name] if test else None, per_class=self.per_class, seed=self.seed)
            if name == RAW:
                pair, notes[name] = pair.projected()
            results[name] = accuracies(pair, kinds)
            scores = "".join(f"{kind} {score:7.2%}   " for kind, score in results[name].items())
            print(f"{name:<14}{scores}{notes.get(name, '')}".rstrip())
        if self.out is not None:
            record = {"run": self.model, "data": self.data, "classes": len(pair.classes)}
            record |= {"fitted": len(pair.labels), "tested": len(pair.test_labels), "notes": notes}
            with whole_file(self.out) as aside:
                aside.write_text(json.dumps({**record, "accuracy": results}, indent=2) + "\n")


def main(words: list[str]) -> int:
    """Run the command and return the exit code."""
    read_words(Probe, "probe", words).run()
    return 0
