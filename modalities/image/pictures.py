"""Picture grids: input, masked input and reconstruction side by side, one row a sample."""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maskkit.batches import tensor_of
from maskkit.evaluate.pixels import grey, shown
from maskkit.model import MaskedModel
from maskkit.targets import NormalizedContents
from maskkit.types import Output

GAP, MARGIN = 4, 10  # pixels
SMALLEST = 128  # pixels that a cell is enlarged to, at least


def draw(batch: Tensor, output: Output, model: MaskedModel, path: Path) -> None:
    """Write a PNG with one row a sample: input, what the encoder saw, what the model made of it."""
    masked = model.paint(output, batch, contents=grey(batch, output, model))
    pictures = (batch, masked, model.paint(output, batch))
    columns = [shown(tensor_of(each), model, like=batch) for each in pictures]
    hidden = output.mask.hidden.shape[1] / output.tokens.shape[1]
    titles = ["input", f"visible {1 - hidden:.0%}", "reconstruction"]
    note = "visible patches are the input's own"
    if isinstance(model.target, NormalizedContents):
        note += "; predicted ones get back the true mean and contrast of each patch, which the model does not predict"
    sheet(columns, titles, note).save(path)


def sheet(columns: list[Float[Tensor, "B 3 H W"]], titles: list[str], note: str) -> Image.Image:
    """Lay pictures out: a column a kind, a row a sample, titles above, a note below."""
    rows, (height, width) = len(columns[0]), columns[0].shape[2:]
    scale = max(1, -(-SMALLEST // min(height, width)))
    height, width = height * scale, width * scale
    font = ImageFont.load_default(size=14)
    head = 24
    total = (2 * MARGIN + len(columns) * (width + GAP), 2 * MARGIN + head + rows * (height + GAP))
    lines = _wrapped(note, total[0] - 2 * MARGIN, font)
    canvas = Image.new("RGB", (total[0], total[1] + 18 * len(lines) + 4), "white")
    pen = ImageDraw.Draw(canvas)
    for column, (pictures, title) in enumerate(zip(columns, titles, strict=True)):
        left = MARGIN + column * (width + GAP)
        pen.text((left, MARGIN), _fitted(title, width, font), fill="black", font=font)
        for row, picture in enumerate(pictures):
            pixels = (picture.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
            cell = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(cell, (left, MARGIN + head + row * (height + GAP)))
    for number, line in enumerate(lines):
        pen.text((MARGIN, total[1] - MARGIN + 4 + 18 * number), line, fill="gray", font=font)
    return canvas


def _fitted(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Shorten a title to the width of its column."""
    while text and font.getlength(text) > width:
        text = text.rsplit(" ", 1)[0] if " " in text else text[:-1]
    return text


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont) -> list[str]:
    """Break a note into lines."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
