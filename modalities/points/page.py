"""A page that shows clouds and lets them be turned; it works offline.

P points of what is shown.
"""

import base64
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

Up = Literal["y", "z"]
SEEN, PREDICTED = "#2f4b7c", "#f26b21"


@dataclass(frozen=True)
class View:
    """One sample: the cloud, the points of its visible groups, and those predicted for hidden ones; ``[P 3]`` each."""

    cloud: NDArray[np.float32]
    visible: NDArray[np.float32]
    predicted: NDArray[np.float32]


def frame(points: Float[np.ndarray, "P 3"]) -> tuple[NDArray[np.float32], float]:
    """Return the middle [3] of a cloud and how far it reaches from there."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle: NDArray[np.float32] = (low + high) / 2
    return middle, float(np.linalg.norm(points - middle, axis=1).max()) * 0.85 or 1.0


def upright(points: NDArray[np.float32], up: Up) -> NDArray[np.float32]:
    """Return coordinates [P 3] whose third points up, right-handed."""
    return points if up == "z" else np.stack([points[:, 0], -points[:, 2], points[:, 1]], axis=1)


def page(views: list[View], titles: list[str], *, up: Up) -> str:
    """Return a page that works offline: coordinates as 16-bit numbers, drawn on a canvas by the script below."""
    samples = []
    for view in views:
        middle, reach = frame(view.cloud)
        parts = (view.cloud, view.visible, view.predicted)
        samples.append([_packed(upright(points - middle, up) / (2 * reach)) for points in parts])
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
