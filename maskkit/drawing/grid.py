"""Grids of pixels with titles and a caption, drawn by Pillow.

Shapes: H height, W width of a cell's contents, in pixels.
"""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

# Pixels: between cells, around the grid, for titles above, for titles at the side, between blocks, a line of caption.
GAP, MARGIN, HEAD, SIDE, BETWEEN, LINE = 4, 10, 24, 20, 10, 18
FONT_SIZE = 14

Pixels = Float[Tensor, "3 H W"]
Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont


def fit_cell(height: int, width: int, *, smallest: int, largest: int | None = None) -> tuple[int, int]:
    """Return the height and width of a cell. Small contents are enlarged by a whole factor, large ones are shrunk.

    The shorter side is then at least ``smallest`` and at most about ``largest`` pixels.
    """
    side = min(height, width)
    if largest is not None and side > largest:
        return round(height * largest / side), round(width * largest / side)
    scale = max(1, -(-smallest // side))
    return height * scale, width * scale


def grid(
    rows: Sequence[Sequence[Pixels]],
    *,
    cell: tuple[int, int],
    titles: Sequence[str] = (),
    sides: Sequence[str] = (),
    block: int = 0,
    note: str = "",
    margin: int = MARGIN,
    head: int = HEAD,
) -> Image.Image:
    """Return a grid of contents in [0, 1]. ``cell`` is the height and width in pixels that each is resized to.

    ``titles`` are above the columns. ``sides`` are beside the rows, rotated upwards, and repeat cyclically. A wider gap
    follows every ``block`` rows. ``note`` is the caption.
    """
    height, width = cell
    font = ImageFont.load_default(size=FONT_SIZE)
    left, top = margin + (SIDE if sides else 0), margin + (head if titles else 0)
    last = GAP if margin else 0  # without a margin there is no gap after the last cell
    size = (left + len(rows[0]) * (width + GAP) - GAP + last + margin, top + _height(len(rows), height, block) + margin)
    size = size[0], size[1] - GAP + last
    lines = wrapped(note, size[0] - 2 * margin, font) if note else []
    canvas = Image.new("RGB", (size[0], size[1] + (LINE * len(lines) + 4 if lines else 0)), "white")
    pen = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        pen.text((left + column * (width + GAP), margin), fitted(title, width, font), fill="black", font=font)
    for number, row in enumerate(rows):
        y = top + _height(number, height, block)
        if sides:
            canvas.paste(_upwards(sides[number % len(sides)], height, font), (margin, y))
        for column, pixels in enumerate(row):
            resized = picture(pixels).resize((width, height), Image.Resampling.NEAREST)
            canvas.paste(resized, (left + column * (width + GAP), y))
    for number, line in enumerate(lines):
        pen.text((margin, size[1] - margin + 4 + LINE * number), line, fill="gray", font=font)
    return canvas


def picture(pixels: Pixels) -> Image.Image:
    """Return values in [0, 1] as an 8-bit image."""
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


def fitted(text: str, width: int, font: Font) -> str:
    """Shorten a title to a width in pixels, by words, and the last word by letters."""
    while text and font.getlength(text) > width:
        text = text.rsplit(" ", 1)[0] if " " in text else text[:-1]
    return text


def wrapped(text: str, width: int, font: Font) -> list[str]:
    """Break a caption into lines of a width in pixels, between words."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _height(rows: int, height: int, block: int) -> int:
    """Return the height in pixels of some rows, including the gaps after them."""
    return rows * (height + GAP) + (rows // block * BETWEEN if block else 0)


def _upwards(title: str, height: int, font: Font) -> Image.Image:
    """Return a title rotated upwards, in the middle of its row."""
    title = fitted(title, height, font)
    label = Image.new("RGB", (height, SIDE - GAP), "white")
    ImageDraw.Draw(label).text(((height - font.getlength(title)) / 2, 0), title, fill="black", font=font)
    return label.transpose(Image.Transpose.ROTATE_90)
