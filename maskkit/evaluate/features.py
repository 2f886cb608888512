"""Features of a data set from frozen encoders."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from maskkit.batches import Fields, tensor_of
from maskkit.data.paths import sorted_classes
from maskkit.data.skips import Skips
from maskkit.data.source import Source, num_items
from maskkit.engine.device import check_device
from maskkit.evaluate.reading import InOrder, read_in_order
from maskkit.model import MaskedModel
from maskkit.progress import track

Pool = Literal["mean", "prefix"]


@dataclass(frozen=True)
class Features:
    """Features with one row per readable sample.

    ``labels`` are indices into ``classes``, -1 for samples without a class.
    """

    features: NDArray[np.float32]
    paths: tuple[str, ...]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    skipped: int


def pick_device(name: str) -> str:
    """Return the name of a device; "auto" is a GPU if one is available. Raises ValueError if it cannot be used."""
    check_device(name)
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def embed(
    model: MaskedModel | None,
    source: Source,
    *,
    pool: Pool = "mean",
    batch: int = 64,
    device: str = "cpu",
    workers: int = 0,
) -> Features:
    """Return the features of every sample with nothing hidden. Without a model they are the raw contents.

    ``pool`` is the "mean" of all tokens or the class token ("prefix"). MAE's linear probe uses the class token, its
    fine-tuning the mean, which is better for most models that were not fine-tuned. ``workers`` is the number of reading
    processes.
    """
    return embed_all({"": model}, source, pool=pool, batch=batch, device=device, workers=workers)[""]


@torch.no_grad()
def embed_all(
    encoders: Mapping[str, MaskedModel | None],
    source: Source,
    *,
    pool: Pool = "mean",
    batch: int = 64,
    device: str = "cpu",
    workers: int = 0,
) -> dict[str, Features]:
    """Return the features of every sample for each encoder, as ``embed`` does. Each sample is read once.

    Progress is shown on stderr after two seconds. Raises ValueError if more than half of the samples cannot be read, or
    if the class token of a model without one is requested.
    """
    if batch < 1 or workers < 0:
        raise ValueError(f"--batch must be at least 1 and --workers at least 0, got {batch} and {workers}")
    if num_items(source):
        source.label(0)  # labels that cannot be used are told before the work
    models = {name: model.to(device).eval() if model is not None else None for name, model in encoders.items()}
    rows: dict[str, list[Tensor]] = {name: [] for name in models}
    indices: list[int] = []
    skips = Skips(total=num_items(source), limit=0.5)
    for found in _tracked(source, batch, workers):
        skips.add(found.bad)
        indices += found.indices
        if found.samples is None:
            continue
        samples = found.samples.to(device)
        for name, model in models.items():
            rows[name].append(_features(model, samples, pool))
    names = [source.label(index) for index in indices]
    classes = sorted_classes({name for name in names if name is not None})
    number = {name: place for place, name in enumerate(classes)}
    labels = np.array([-1 if name is None else number[name] for name in names], dtype=np.int64)
    paths = tuple(source.path(index) for index in indices)
    return {name: Features(_joined(rows.pop(name)), paths, labels, classes, len(skips)) for name in models}


def _features(model: MaskedModel | None, samples: Tensor | Fields, pool: Pool) -> Tensor:
    """Return [B D] on the CPU."""
    if model is None:
        contents = tensor_of(samples).flatten(1).cpu()
        # NaN stands for missing values of short samples. Integers keep their type until the end, to save memory.
        return contents.nan_to_num(0.0) if contents.is_floating_point() else contents
    latent = model.encode(samples)
    if pool == "prefix" and latent.prefix.shape[1] == 0:
        raise ValueError("the encoder has no class token, which --pool prefix reads; use --pool mean")
    return (latent.pooled if pool == "mean" else latent.prefix[:, 0]).float().cpu()


def _joined(rows: list[Tensor]) -> NDArray[np.float32]:
    """Return all rows as one array [n D], and release them one by one."""
    if not rows:
        return np.zeros((0, 0), np.float32)
    joined = np.empty((sum(len(row) for row in rows), rows[0].shape[1]), np.float32)
    start = 0
    while rows:
        row = rows.pop(0)
        joined[start : start + len(row)] = row.numpy()
        start += len(row)
    return joined


def _tracked(source: Source, batch: int, workers: int) -> Iterator[InOrder]:
    """Yield the batches of a source in order, and show progress."""
    numbers = range(-(-num_items(source) // batch))
    batches = read_in_order(source, batch=batch, workers=workers)
    for _, found in zip(track(numbers, "batches read and encoded"), batches, strict=True):
        yield found
