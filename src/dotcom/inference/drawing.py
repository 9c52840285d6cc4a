"""A result drawn on its picture, so that one can read it whatever size the picture has."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dotcom.callbacks.overlays import GROUND, OPAQUE
from dotcom.callbacks.pictures import palette
from dotcom.inference.results import Boxes, Classes, Mask, Result
from dotcom.text import visible

SMALLEST, LARGEST = 480, 2000  # pixels of the longer side of a drawing; smaller pictures are enlarged, larger shrunk
PAPER, INK, BAR = (24, 24, 27), (240, 240, 240), (70, 110, 170)
ENTRIES = 12  # of a legend

Colour = tuple[int, int, int]


def draw(picture: Image.Image, result: Result, classes: Sequence[str]) -> Image.Image:
    """A drawing of its own: classes listed below the picture, boxes on it, masks over it with a legend below.

    Args:
        picture: Upright, as ``read_picture`` gives it.
        result: What a ``Predictor`` said of it.
        classes: All names, which decide the colours: the same as in the pictures of the run.
    """
    canvas, scale = _canvas(picture)
    if isinstance(result, Classes):
        rows = [(f"{visible(guess.name)}  {guess.probability:.1%}", BAR, guess.probability) for guess in result.top]
        return _above(canvas, rows)
    colours = [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in palette(len(classes))]
    if isinstance(result, Boxes):
        _outline(canvas, result, scale, colours)
        return canvas
    legend = [
        (f"{visible(share.name)}  {share.share:.1%}", PAPER if share.name == GROUND else colours[share.label], 0.0)
        for share in result.shares[:ENTRIES]
    ]
    return _above(_tinted(canvas, result, classes, colours), legend)


def _canvas(picture: Image.Image) -> tuple[Image.Image, float]:
    """The picture enlarged or shrunk to a readable size, and the factor."""
    longer = max(picture.size)
    scale = min(max(longer, SMALLEST), LARGEST) / longer
    width, height = (max(1, round(side * scale)) for side in picture.size)
    how = Image.Resampling.NEAREST if scale > 4 else Image.Resampling.LANCZOS  # pixels stay pixels
    return (picture.copy() if scale == 1 else picture.resize((width, height), how)), scale


def _outline(canvas: Image.Image, result: Boxes, scale: float, colours: Sequence[Colour]) -> None:
    """Boxes in the colour of their class, the best on top, each with its name and score inside the picture."""
    pen = ImageDraw.Draw(canvas)
    line = max(2, max(canvas.size) // 300)
    font = _font(max(13, max(canvas.size) // 50))
    for box in reversed(result.boxes):
        x1, y1, x2, y2 = (side * scale for side in box.xyxy)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colours[box.label], width=line)
    for box in reversed(result.boxes):
        text = f"{visible(box.name)} {box.score:.0%}"
        left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
        width, height = right - left + 2 * line, bottom - top + 2 * line
        x = max(0, min(box.xyxy[0] * scale, canvas.width - width))
        y = max(0, box.xyxy[1] * scale - height)
        pen.rectangle((x, y, x + width, y + height), fill=colours[box.label])
        pen.text((x + line - left, y + line - top), text, font=font, fill=_readable_on(colours[box.label]))


def _tinted(canvas: Image.Image, result: Mask, classes: Sequence[str], colours: Sequence[Colour]) -> Image.Image:
    """The picture under the colours of its classes; the background keeps its own."""
    mask = Image.fromarray(result.classes).resize(canvas.size, Image.Resampling.NEAREST)
    labels = np.asarray(mask)
    ground = np.array([name == GROUND for name in classes])
    opaque = Image.fromarray(np.where(ground[labels], 0, round(255 * OPAQUE)).astype(np.uint8))
    layer = Image.fromarray(np.array(colours, np.uint8)[labels])
    return Image.composite(layer, canvas, opaque)


def _above(canvas: Image.Image, rows: Sequence[tuple[str, Colour, float]]) -> Image.Image:
    """The picture above lines of text; each has a swatch, or a bar as long as its share of the width."""
    width = max(canvas.width, SMALLEST)
    size = max(16, width // 45)
    font, step, edge = _font(size), round(size * 1.6), size // 2
    sheet = Image.new("RGB", (width, canvas.height + step * len(rows) + edge), PAPER)
    sheet.paste(canvas, ((width - canvas.width) // 2, 0))
    pen = ImageDraw.Draw(sheet)
    for number, (text, colour, share) in enumerate(rows):
        y = canvas.height + edge // 2 + number * step
        swatch = share * (width - 2 * edge) if share else size
        pen.rectangle((edge, y + 2, edge + max(1, swatch), y + step - 2), fill=colour)
        pen.text((edge * 2 if share else edge * 2 + size, y + step / 2), text, font=font, fill=INK, anchor="lm")
    return sheet


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has Latin, Greek, Cyrillic and more."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)
