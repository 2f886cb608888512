"""Figures of images: input, visible part and reconstruction, one row per sample."""

from pathlib import Path

from maskkit.batches import Batch
from maskkit.drawing.caption import caption, column_titles
from maskkit.drawing.grid import GAP, MARGIN, fit_cell, grid
from maskkit.drawing.pixels import three_views
from maskkit.model import MaskedModel
from maskkit.types import Output

SMALLEST = 128  # minimum length in pixels of the shorter side of a cell

__all__ = ["GAP", "MARGIN", "draw"]


def draw(batch: Batch, output: Output, model: MaskedModel, path: Path) -> None:
    """Write a PNG with one row per sample: the input [C H W], what the encoder saw, what the model predicted."""
    columns = three_views(batch, output, model)
    cell = fit_cell(*columns[0].shape[-2:], smallest=SMALLEST)
    rows = list(zip(*columns, strict=True))
    grid(rows, cell=cell, titles=column_titles(output), note=caption(model, "patches")).save(path)
