"""Figures of videos: a contact sheet, time from left to right, and an animated GIF."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float
from PIL import Image
from torch import Tensor

from maskkit.batches import Batch
from maskkit.drawing.caption import TITLES, caption, visible_share
from maskkit.drawing.grid import GAP, MARGIN, SIDE, fit_cell, grid
from maskkit.drawing.pixels import three_views
from maskkit.model import MaskedModel
from maskkit.types import Output

SMALLEST, LARGEST = 96, 160  # pixels of a cell's shorter side
MOST_FRAMES, MOST_SAMPLES = 8, 4
MILLISECONDS = 120  # a frame of the animation

__all__ = ["GAP", "MARGIN", "SIDE", "animate", "draw", "sheet"]


def draw(batch: Batch, output: Output, model: MaskedModel, path: Path) -> None:
    """Write a PNG with three rows a sample, and beside it an animated GIF; only the GIF where the path ends in .gif."""
    views = [view[:MOST_SAMPLES] for view in three_views(batch, output, model)]
    if path.suffix.lower() != ".gif":
        text = f"{visible_share(output):.0%} of the tokens are visible; {caption(model, 'tokens')}"
        sheet(views, text).save(path)
    animate(views, path.with_suffix(".gif"))


def sheet(views: Sequence[Float[Tensor, "B 3 T H W"]], text: str) -> Image.Image:
    """Lay clips out: for each sample a row a view, frames from left to right, titles at the side, a caption below.

    Long clips show every so many frames, so that the same time passes from one to the next.
    """
    frames = views[0].shape[2]
    numbers = range(0, frames, -(-frames // MOST_FRAMES))
    if len(numbers) < frames:
        text += f"; shown are frames {', '.join(map(str, numbers))} of 0 to {frames - 1}"
    rows = [[clip[:, number] for number in numbers] for clips in zip(*views, strict=True) for clip in clips]
    return grid(rows, cell=_cell(views[0]), sides=TITLES, block=len(TITLES), note=text)


def animate(views: Sequence[Float[Tensor, "B 3 T H W"]], path: Path) -> None:
    """Write a GIF that plays all clips at once: titled columns of input, visible and reconstruction, a row a sample."""
    pictures = []
    for number in range(views[0].shape[2]):
        rows = [[clip[:, number] for clip in clips] for clips in zip(*views, strict=True)]
        pictures.append(grid(rows, cell=_cell(views[0]), titles=TITLES, margin=0, head=SIDE))
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=MILLISECONDS, loop=0)


def _cell(view: Float[Tensor, "B 3 T H W"]) -> tuple[int, int]:
    height, width = view.shape[-2:]
    return fit_cell(height, width, smallest=SMALLEST, largest=LARGEST)
