"""A modality in one file: signals ``[B 1 length]``, one to an .npy file."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
import tyro
from matplotlib.figure import Figure

from maskkit.data.find import find_files
from maskkit.data.paths import FileSource
from maskkit.files import BadSampleError
from maskkit.kernels.linear import Linear
from maskkit.maskers import Uniform
from maskkit.modality import Fit, InputSpec, Modality
from maskkit.positions import SinCos
from maskkit.targets import Contents
from maskkit.tokenizers import Patches
from outside_maskkit.method import OutsideMethod


@dataclass(frozen=True, kw_only=True)
class Inputs:
    length: int = 128
    """Numbers of a signal that the model sees."""

    def spec(self):
        tokenizer = Patches(size=(8,), channels=1, input_size=(self.length,))
        parts = {"positions": lambda dim: SinCos(dim=dim, axes=1), "masker": lambda ratio: Uniform(ratio=ratio)}
        shape = {"output": 8, "grid": (self.length // 8,)}
        return InputSpec(tokenizer=tokenizer, embed=lambda dim: Linear(8, dim), target=Contents, **parts, **shape)


@dataclass(frozen=True, kw_only=True)
class Signals(FileSource):
    length: int

    def read(self, key, rng):
        try:
            return torch.from_numpy(np.load(self.files.open(key.index))[: self.length]).float().view(1, self.length)
        except (ValueError, EOFError, RuntimeError) as error:
            raise BadSampleError(self.path(key.index), f"no signal of {self.length} numbers") from error


@dataclass(frozen=True, kw_only=True)
class Data:
    root: Annotated[str, tyro.conf.arg(aliases=["--data"])]
    """Folder of .npy files."""

    def at(self, root):
        return replace(self, root=root)

    def open(self, tokenizer, *, train=False):
        return Signals(files=find_files(self.root, (".npy",)), length=tokenizer.input_size[0])


def fit(model, data, say):
    return Fit(model=model, data=data, samples=len(find_files(data.root, (".npy",))), batch=16, summary=model.name)


def draw(batch, output, model, path):
    figure = Figure()
    figure.subplots().plot(torch.cat([batch[0], model.paint(output, batch)[0].detach()]).T)
    figure.savefig(path)


MODALITY = Modality(
    **{"name": "signal", "suffixes": (".npy",), "presets": {}, "data": Data, "draw": draw, "fit": fit},
    **{"inputs": lambda **settings: Inputs(**settings).spec(), "input_settings": Inputs},
    sample=lambda count: torch.linspace(0, 9, 128).mul(torch.arange(1, count + 1)[:, None]).sin()[:, None],
    tiny=lambda: OutsideMethod().build(Inputs().spec()),
    open=lambda where, tokenizer: Data(root=str(where)).open(tokenizer),
)
