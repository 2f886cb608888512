"""A figure of the loss of a run over its steps."""

from pathlib import Path

from maskkit.files import read_json_lines
from maskkit.hints import fits


def draw_loss(metrics: Path, path: Path) -> Path:
    """Draw the ``loss`` of a ``metrics.jsonl`` to an image file, and return its path. It needs no display.

    Raises ValueError if the file has no step with a loss.
    """
    from matplotlib.figure import Figure  # slow to import, and other commands do not need it

    pairs = [(line.get("step"), line.get("loss")) for line in read_json_lines(metrics)]
    points = [(step, loss) for step, loss in pairs if fits(step, int) and fits(loss, float)]
    if not points:
        raise ValueError(f"{metrics} has no step with a loss; draw the curve after the first logged step")
    figure = Figure(figsize=(6, 3.5), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot(*zip(*points, strict=True), linewidth=1)
    axes.set(xlabel="step", ylabel="loss", ylim=(0, None), xlim=(0, None))
    axes.grid(alpha=0.3)
    figure.savefig(path)
    return path
