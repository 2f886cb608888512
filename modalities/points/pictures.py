"""Views of clouds: input, visible groups and reconstruction, as a picture and as a page that turns them.

P points of what is shown, G groups, K points of a group.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from maskkit.batches import tensor_of
from maskkit.model import MaskedModel
from maskkit.types import Output

Up = Literal["y", "z"]
TITLES = ("input", "visible {share:.0%} of the groups", "reconstruction")
SEEN, PREDICTED = "#2f4b7c", "#f26b21"
CELL = 2.6  # inches


@dataclass(frozen=True)
class View:
    """One sample: the cloud, the points of its visible groups, and those predicted for hidden ones."""

    cloud: NDArray[np.float32]
    visible: NDArray[np.float32]
    predicted: NDArray[np.float32]


def draw(batch: Tensor, output: Output, model: MaskedModel, path: Path, *, up: Up = "y") -> None:
    """Write a PNG with one row a sample, and beside it an HTML page in which the clouds can be turned.

    ``up`` is the axis that points up; ShapeNet and most meshes have y, scanners z. Needs no display.
    """
    views = look(batch, output, model)
    visible, hidden = (index.shape[1] for index in (output.mask.visible, output.mask.hidden))
    share = visible / (visible + hidden)  # in a padded batch a group may be in neither
    titles = [title.format(share=share) for title in TITLES]
    if path.suffix != ".html":
        sheet(views, titles, path, up=up)
    path.with_suffix(".html").write_text(page(views, titles, up=up))


def look(batch: Tensor, output: Output, model: MaskedModel) -> list[View]:
    """Gather what is shown of each sample."""
    painted = tensor_of(model.paint(output, batch)).detach().float().cpu()
    num_groups, mask = output.tokens.shape[1], output.mask
    groups = painted[..., :3].unflatten(1, (num_groups, -1)).numpy()
    views = []
    for row, cloud in enumerate(batch):
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
    from matplotlib.figure import Figure  # half a second that other commands need not wait for

    figure = Figure(figsize=(3 * CELL, len(views) * CELL + 0.65), dpi=110)
    figure.subplots_adjust(left=0, right=1, bottom=0.25 / figure.get_figheight(), top=1 - 0.3 / figure.get_figheight())
    figure.subplots_adjust(wspace=0, hspace=0)
    for row, view in enumerate(views):
        middle, reach = _frame(view.cloud)
        shown: tuple[list[tuple[Any, str | None]], ...] = (
            [(view.cloud, None)],
            [(view.visible, SEEN)],
            [(view.visible, SEEN), (view.predicted, PREDICTED)],
        )
        for column, sets in enumerate(shown):
            axes = figure.add_subplot(len(views), 3, 3 * row + column + 1, projection="3d")
            for points, colour in sets:
                x, y, z = _upright(points - middle, up).T
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


def _frame(points: Float[np.ndarray, "P 3"]) -> tuple[NDArray[np.float32], float]:
    """Return the middle of a cloud and how far it reaches from there."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle: NDArray[np.float32] = (low + high) / 2
    return middle, float(np.linalg.norm(points - middle, axis=1).max()) * 0.85 or 1.0


def _upright(points: NDArray[np.float32], up: Up) -> NDArray[np.float32]:
    """Return coordinates whose third points up, right-handed."""
    return points if up == "z" else np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def page(views: list[View], titles: list[str], *, up: Up) -> str:
    """Return a page that works offline: coordinates as 16-bit numbers, drawn on a canvas by the script below."""
    samples = []
    for view in views:
        middle, reach = _frame(view.cloud)
        parts = (view.cloud, view.visible, view.predicted)
        samples.append([_packed(_upright(points - middle, up) / (2 * reach)) for points in parts])
    data = json.dumps({"titles": titles, "samples": samples, "colours": [SEEN, PREDICTED]})
    return _PAGE.replace("DATA", data.replace("</", "<\\/"))


def _packed(points: NDArray[np.float32]) -> str:
    whole = (points.clip(-1, 1) * 32767).round().astype("<i2")
    return base64.b64encode(whole.tobytes()).decode()


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>maskkit: point clouds</title>
<meta name="viewport" content="width=device-width">
<style>
body { font: 14px system-ui, sans-serif; margin: 12px; color: #222; background: #fff }
main { display: flex; flex-wrap: wrap; gap: 8px } figure { margin: 0; flex: 1 1 280px }
canvas { width: 100%; aspect-ratio: 1; border: 1px solid #ddd; cursor: grab; touch-action: none }
</style>
<p><button id="back">previous</button> <span id="which"></span> <button id="next">next</button>
drag to turn, wheel to zoom, double click to reset; orange points are predicted</p>
<main></main>
<script>
"use strict";
const data = DATA;
const unpack = text => {
  const bytes = Uint8Array.from(atob(text), c => c.charCodeAt(0)), view = new DataView(bytes.buffer);
  return Float32Array.from({length: bytes.length / 2}, (_, i) => view.getInt16(2 * i, true) / 32767);
};
let sample = 0, turn = -1.05, tilt = 0.35, zoom = 1, held = null, sets = [];
const canvases = data.titles.map(title => {
  const figure = document.createElement("figure"), canvas = document.createElement("canvas");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  figure.append(caption, canvas);
  document.querySelector("main").append(figure);
  canvas.onpointerdown = e => { held = [e.clientX, e.clientY]; canvas.setPointerCapture(e.pointerId); };
  canvas.onpointermove = e => {
    if (!held) return;
    turn += (e.clientX - held[0]) / 150;
    tilt = Math.max(-1.57, Math.min(1.57, tilt + (e.clientY - held[1]) / 150));
    held = [e.clientX, e.clientY];
    paint();
  };
  canvas.onpointerup = canvas.onpointercancel = () => { held = null; };
  canvas.onwheel = e => { e.preventDefault(); zoom *= Math.exp(-e.deltaY / 600); paint(); };
  canvas.ondblclick = () => { [turn, tilt, zoom] = [-1.05, 0.35, 1]; paint(); };
  return canvas;
});
function paint() {
  const [cloud, seen, predicted] = sets, [blue, orange] = data.colours;
  const shown = [[[cloud, null]], [[seen, blue]], [[seen, blue], [predicted, orange]]];
  canvases.forEach((canvas, column) => {
    const side = canvas.width = canvas.height = canvas.clientWidth * devicePixelRatio, pen = canvas.getContext("2d");
    const [c, s, ct, st] = [Math.cos(turn), Math.sin(turn), Math.cos(tilt), Math.sin(tilt)], dots = [];
    for (const [points, colour] of shown[column]) for (let i = 0; i < points.length; i += 3) {
      const x = points[i] * c - points[i + 1] * s, y = points[i] * s + points[i + 1] * c, z = points[i + 2];
      const hue = 265 - 190 * (z + 0.5);
      dots.push([x, y * st + z * ct, y * ct - z * st, colour || `hsl(${hue} 70% 42%)`]);
    }
    dots.sort((a, b) => b[2] - a[2]);
    for (const [x, y, depth, colour] of dots) {
      const size = side / 110 * (1.25 - depth) * Math.sqrt(zoom);
      pen.globalAlpha = Math.max(0.25, Math.min(1, 0.8 - 0.6 * depth));
      pen.fillStyle = colour;
      const reach = side * 0.8 * zoom, corner = (side - size) / 2;
      pen.fillRect(corner + x * reach, corner - y * reach, size, size);
    }
  });
}
function show(number) {
  sample = (number + data.samples.length) % data.samples.length;
  sets = data.samples[sample].map(unpack);
  document.getElementById("which").textContent = `sample ${sample + 1} of ${data.samples.length}`;
  paint();
}
document.getElementById("back").onclick = () => show(sample - 1);
document.getElementById("next").onclick = () => show(sample + 1);
onresize = paint;
show(0);
</script></html>
"""
