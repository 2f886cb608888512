"""A figure of the loss of a run over its steps."""

import json
from pathlib import Path


def draw_loss(metrics: Path, path: Path) -> Path:
    """Draw the ``loss`` of a ``metrics.jsonl`` to an image file, and return its path. It needs no display.

    Raises ValueError if the file has no step with a loss.
    """
    from matplotlib.figure import Figure  # slow to import, and other commands do not need it

    lines = [json.loads(line) for line in metrics.read_text().splitlines() if line.strip()]
    points = [(line["step"], line["loss"]) for line in lines if line.get("loss") is not None]
    if not points:
        raise ValueError(f"{metrics} has no step with a loss; draw the curve after the first logged step")
    figure = Figure(figsize=(6, 3.5), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), linewidth=1)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path)
    return path
