"""Features of a whole data set, from a frozen encoder."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from maskkit.data.loader import read_all
from maskkit.data.skips import Skips
from maskkit.data.source import Source
from maskkit.model import MaskedModel

Pool = Literal["mean", "prefix"]


@dataclass(frozen=True)
class Features:
    """One row a sample that could be read; ``labels`` are numbers of ``classes``, -1 where a sample has none."""

    features: NDArray[np.float32]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    skipped: int


@torch.no_grad()
def embed(
    model: MaskedModel | None, source: Source, *, pool: Pool = "mean", batch: int = 64, device: str = "cpu"
) -> Features:
    """Encode every sample with nothing hidden. Without a model the features are the raw contents, for comparison.

    ``pool``: "mean" of all tokens, or "prefix" for the class token; MAE's linear probe takes the class token, its
    fine-tuning the mean, which is better for most models that were not fine-tuned.
    """
    if model is not None:
        model = model.to(device).eval()
    rows, indices, skips = [], [], Skips(total=len(source), limit=0.5)
    for read, samples in read_all(source, batch=batch, skips=skips):
        if model is None:
            inputs = samples if isinstance(samples, torch.Tensor) else samples["x"]
            rows.append(inputs.flatten(1).float().nan_to_num(0.0))  # NaN: what a short sample does not have
        else:
            latent = model.encode(samples.to(device))
            rows.append((latent.pooled if pool == "mean" else latent.prefix[:, 0]).float().cpu())
        indices += read
    names = [source.label(index) for index in indices]
    classes = tuple(sorted({name for name in names if name is not None}))
    number = {name: place for place, name in enumerate(classes)}
    return Features(
        features=torch.cat(rows).numpy() if rows else np.zeros((0, 0), np.float32),
        paths=tuple(source.path(index) for index in indices),
        labels=np.array([-1 if name is None else number[name] for name in names], dtype=np.int64),
        classes=classes,
        skipped=len(skips),
    )
