"""A contact sheet (input, masked input and reconstruction as rows, time from left to right) and an animated GIF."""

from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from maskkit.batches import tensor_of
from maskkit.evaluate.pixels import grey, shown
from maskkit.model import MaskedModel
from maskkit.targets import NormalizedContents, SlicedContents
from maskkit.types import Output

GAP, MARGIN, BETWEEN, SIDE = 3, 10, 10, 20  # pixels; SIDE holds the titles, those of rows written upwards
SMALLEST, LARGEST = 96, 160  # pixels of a cell's shorter side on the sheet
MOST_FRAMES, MOST_SAMPLES = 8, 4
MILLISECONDS = 120  # a frame of the animation
TITLES = ("input", "visible", "reconstruction")


def draw(batch: Tensor, output: Output, model: MaskedModel, path: Path) -> None:
    """Write a PNG with three rows a sample, and beside it an animated GIF; of a path that ends in .gif, only that."""
    masked = model.paint(output, batch, contents=grey(batch, output, model))
    rows = [
        shown(tensor_of(each), model, like=batch)[:MOST_SAMPLES] for each in (batch, masked, model.paint(output, batch))
    ]
    if path.suffix.lower() != ".gif":
        sheet(rows, note(output, model)).save(path)
    animate(rows, path.with_suffix(".gif"))


def note(output: Output, model: MaskedModel) -> str:
    """Return what a reader of the sheet has to know."""
    share = 1 - output.mask.hidden.shape[1] / output.tokens.shape[1]
    text = f"{share:.0%} of the tokens are visible; visible ones are the input's own"
    target = model.target
    if isinstance(target, SlicedContents):
        text += f"; of {target.slices} frames in a token {target.kept} are predicted, the others repeat them"
        target = target.target
    if isinstance(target, NormalizedContents):
        text += "; predicted ones get back the true mean and contrast of each token, which the model does not predict"
    return text


def sheet(rows: list[Float[Tensor, "B 3 T H W"]], text: str) -> Image.Image:
    """Lay clips out: for each sample three rows, frames from left to right, titles at the side, a note below.

    Of long clips every so many frames are shown, so that time passes evenly from one to the next.
    """
    samples, frames = rows[0].shape[0], rows[0].shape[2]
    numbers = range(0, frames, -(-frames // MOST_FRAMES))
    if len(numbers) < frames:
        text += f"; shown are frames {', '.join(map(str, numbers))} of 0 to {frames - 1}"
    height, width = _cell(*rows[0].shape[-2:])
    block = 3 * (height + GAP) + BETWEEN
    total = (2 * MARGIN + SIDE + len(numbers) * (width + GAP), 2 * MARGIN + samples * block)
    font = ImageFont.load_default(size=13)
    lines = _wrapped(text, total[0] - 2 * MARGIN, font)
    canvas = Image.new("RGB", (total[0], total[1] + 18 * len(lines)), "white")
    for sample in range(samples):
        for row, clips in enumerate(rows):
            top = MARGIN + sample * block + row * (height + GAP)
            title = _title(TITLES[row], height, font).transpose(Image.Transpose.ROTATE_90)
            canvas.paste(title, (MARGIN, top))
            for column, number in enumerate(numbers):
                cell = _picture(clips[sample, :, number]).resize((width, height), Image.Resampling.NEAREST)
                canvas.paste(cell, (MARGIN + SIDE + column * (width + GAP), top))
    pen = ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        pen.text((MARGIN, total[1] - MARGIN + 18 * number), line, fill="gray", font=font)
    return canvas


def animate(rows: list[Float[Tensor, "B 3 T H W"]], path: Path) -> None:
    """Write a GIF that plays all clips at once: titled columns of input, visible and reconstruction, a row a sample."""
    samples, frames = rows[0].shape[0], rows[0].shape[2]
    height, width = _cell(*rows[0].shape[-2:])
    pictures, font = [], ImageFont.load_default(size=13)
    for number in range(frames):
        canvas = Image.new("RGB", (3 * (width + GAP) - GAP, SIDE + samples * (height + GAP) - GAP), "white")
        for column, title in enumerate(TITLES):
            canvas.paste(_title(title, width, font), (column * (width + GAP), 0))
        for sample in range(samples):
            for column, clips in enumerate(rows):
                cell = _picture(clips[sample, :, number]).resize((width, height), Image.Resampling.NEAREST)
                canvas.paste(cell, (column * (width + GAP), SIDE + sample * (height + GAP)))
        pictures.append(canvas)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=MILLISECONDS, loop=0)


def _picture(pixels: Float[Tensor, "3 H W"]) -> Image.Image:
    return Image.fromarray((pixels.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())


def _cell(height: int, width: int) -> tuple[int, int]:
    """Return the size of a frame on the sheet: whole multiples for small frames, shrunk for large ones."""
    side = min(height, width)
    if side <= LARGEST:
        scale = max(1, -(-SMALLEST // side))
        return height * scale, width * scale
    return round(height * LARGEST / side), round(width * LARGEST / side)


def _title(title: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> Image.Image:
    """Return a title in the middle of a flat picture, shortened to fit."""
    while title and font.getlength(title) > width:
        title = title[:-1]
    label = Image.new("RGB", (width, SIDE - GAP), "white")
    ImageDraw.Draw(label).text(((width - font.getlength(title)) / 2, 0), title, fill="black", font=font)
    return label


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """Break a note into lines."""
    lines: list[str] = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
