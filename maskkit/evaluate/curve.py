"""The loss of a run over its steps, as a picture."""

import json
from pathlib import Path


def draw_loss(metrics: Path, picture: Path) -> Path:
    """Draw the ``loss`` of a ``metrics.jsonl``; returns the picture. Needs no display."""
    from matplotlib.figure import Figure  # half a second that other commands need not wait for

    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    figure = Figure(figsize=(6, 3.5), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot([line["step"] for line in lines], [line["loss"] for line in lines], linewidth=1)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(picture)
    return picture
