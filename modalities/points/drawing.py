"""Figures of point clouds: input, visible groups and reconstruction, as an image and as a page that turns them.

P points of what is shown, G groups, K points of a group.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from numpy.typing import NDArray

from maskkit.batches import Batch, input_of, tensor_of
from maskkit.drawing.caption import column_titles
from maskkit.modalities.points.page import PREDICTED, SEEN, Up, View, frame, page, upright
from maskkit.model import MaskedModel
from maskkit.types import Output

CELL = 2.6  # inches


def draw(batch: Batch, output: Output, model: MaskedModel, path: Path, *, up: Up = "y") -> None:
    """Write a PNG with one row per sample, and beside it an HTML page in which the clouds can be turned.

    ``up`` is the axis that points up; ShapeNet and most meshes have y, scanners z. Needs no display.
    """
    views = look(batch, output, model)
    before, visible, after = column_titles(output)
    titles = [before, f"{visible} of the groups", after]
    if path.suffix != ".html":
        sheet(views, titles, path, up=up)
    path.with_suffix(".html").write_text(page(views, titles, up=up))


def look(batch: Batch, output: Output, model: MaskedModel) -> list[View]:
    """Gather what is shown of each sample."""
    painted = tensor_of(model.paint(output, batch)).detach().float().cpu()
    num_groups, mask = output.tokens.shape[1], output.mask
    groups = painted[..., :3].unflatten(1, (num_groups, -1)).numpy()
    views = []
    for row, cloud in enumerate(input_of(batch)):
        points = cloud[:, :3].detach().float().cpu().numpy()
        seen, hidden = mask.visible[row].cpu().numpy(), mask.hidden[row].cpu().numpy()
        views.append(
            View(
                cloud=points[_finite(points)],
                visible=groups[row, seen].reshape(-1, 3),
                predicted=groups[row, hidden].reshape(-1, 3),
            )
        )
    return views


def sheet(views: list[View], titles: list[str], path: Path, *, up: Up) -> None:
    """Draw three columns of 3-D scatters, all of a row in one scale and from one side."""
    from matplotlib.figure import Figure  # slow to import, and other commands do not need it

    figure = Figure(figsize=(3 * CELL, len(views) * CELL + 0.65), dpi=110)
    figure.subplots_adjust(left=0, right=1, bottom=0.25 / figure.get_figheight(), top=1 - 0.3 / figure.get_figheight())
    figure.subplots_adjust(wspace=0, hspace=0)
    for row, view in enumerate(views):
        middle, reach = frame(view.cloud)
        shown: tuple[list[tuple[NDArray[np.float32], str | None]], ...] = (
            [(view.cloud, None)],
            [(view.visible, SEEN)],
            [(view.visible, SEEN), (view.predicted, PREDICTED)],
        )
        for column, sets in enumerate(shown):
            axes = figure.add_subplot(len(views), 3, 3 * row + column + 1, projection="3d")
            for points, colour in sets:
                x, y, z = upright(points - middle, up).T
                look_of_it = {"c": colour} if colour else {"c": z, "cmap": "viridis"}
                dot = min(10.0, max(2.0, 2500 / len(view.cloud)))  # points², so that few points are seen too
                axes.scatter(x, y, z, s=dot, linewidths=0, depthshade=True, **look_of_it)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), zlim=(-reach, reach))
            axes.set_box_aspect((1, 1, 1), zoom=1.3)
            axes.view_init(elev=20, azim=-60)
            axes.set_axis_off()
    for column, title in enumerate(titles):
        figure.text((column + 0.5) / 3, 1 - 0.2 / figure.get_figheight(), title, ha="center", fontsize=10)
    note = "blue: points of visible groups, orange: predicted points of hidden ones"
    figure.text(0.02, 0.08 / figure.get_figheight(), note, fontsize=8, color="gray")
    figure.savefig(path)


def _finite(points: NDArray[np.float32]) -> Bool[np.ndarray, "P"]:
    kept: NDArray[np.bool_] = np.isfinite(points).all(axis=1)  # type: ignore[assignment]  # padding is NaN
    return kept
