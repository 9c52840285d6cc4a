"""What the page shows of one picture: a drawing, a line, the time, and the same with Co-Bias switched off."""

import base64
import copy
import io
import time
from typing import Any

import torch
from PIL import Image
from torch import nn

from dotcom.annotations.images import by, read_picture
from dotcom.errors import UsageError
from dotcom.inference.drawing import draw
from dotcom.inference.predictor import Predictor, Prepared
from dotcom.inference.results import Boxes, Classes, Mask, Result
from dotcom.models.dot import CoBias

MAX_PIXELS = 50_000_000  # of a picture: phones take these, and drawing it twice stays below a gigabyte
MAX_SIDE = 65_535  # pixels, the longest that a JPEG can have; shrinking a longer strip takes more memory than there is


class Answers:
    """Answers to pictures, one at a time.

    Args:
        predictor: Of the checkpoint.

    Attributes:
        without: The same network with every Co-Bias set to zero; None if it has none.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.without = without_co_bias(predictor)
        for each in filter(None, (predictor, self.without)):
            each([Image.new("RGB", (64, 64))])  # the first pass allocates; it is no measure

    def __call__(self, content: bytes, threshold: float) -> dict[str, Any]:
        """What JSON says of a picture.

        Args:
            content: Of a picture file.
            threshold: Least score of a box that is shown.

        Raises:
            UsageError: One line, if it is no picture, damaged or too large.
        """
        picture = read_picture(content, limit=MAX_PIXELS)
        if max(picture.size) > MAX_SIDE:
            raise UsageError(f"the picture: it has {by(picture.size)} pixels; expected at most {MAX_SIDE} a side")
        try:
            return self._answer(picture, threshold)
        except MemoryError:
            raise UsageError("the picture: this machine has too little memory for it") from None

    def _answer(self, picture: Image.Image, threshold: float) -> dict[str, Any]:
        prepared = self.predictor.prepare(picture)
        result, milliseconds = timed(self.predictor, prepared)
        answer = {
            "size": [picture.width, picture.height],
            "seen": [prepared.image.shape[-1], prepared.image.shape[-2]],
            "milliseconds": milliseconds,
            **self._shown(picture, result, threshold),
        }
        if self.without is not None:
            other, _ = timed(self.without, prepared)
            answer["without"] = {**self._shown(picture, other, threshold), "change": change(result, other, threshold)}
        return answer

    def _shown(self, picture: Image.Image, result: Result, threshold: float) -> dict[str, Any]:
        if isinstance(result, Boxes):
            result = result.above(threshold)
        drawing = io.BytesIO()
        draw(picture, result, self.predictor.classes).save(drawing, "PNG")
        address = "data:image/png;base64," + base64.b64encode(drawing.getvalue()).decode()
        return {"drawing": address, "line": result.line()}


def timed(predictor: Predictor, prepared: Prepared) -> tuple[Result, float]:
    """A result, and how long network and decoding took, in milliseconds."""
    started = time.perf_counter()
    (result,) = predictor.predict([prepared])
    return result, 1000 * (time.perf_counter() - started)


def without_co_bias(predictor: Predictor) -> Predictor | None:
    """A copy whose Co-Biases are zero; None where there are none to switch off."""
    network: nn.Module = copy.deepcopy(predictor.network)
    biases = [module.bias for module in network.modules() if isinstance(module, CoBias)]
    if not biases:
        return None
    with torch.no_grad():
        for bias in biases:
            bias.zero_()
    other = copy.copy(predictor)
    other.network = network
    return other


def change(result: Result, other: Result, threshold: float) -> str:
    """How far two results of one picture differ, in one line; of boxes, only those above the threshold count."""
    if isinstance(result, Classes) and isinstance(other, Classes):
        before = {guess.name: guess.probability for guess in result.top}
        after = {guess.name: guess.probability for guess in other.top}
        best = result.top[0].name
        stays = "the same class" if best == other.top[0].name else f"{other.top[0].name} instead of {best}"
        shift = 100 * (after.get(best, 0.0) - before[best])
        return f"{stays}; {best} {shift:+.2f} points"
    if isinstance(result, Boxes) and isinstance(other, Boxes):
        one, two = (max((box.score for box in each.boxes), default=0.0) for each in (result, other))
        shown, left = (len(each.above(threshold).boxes) for each in (result, other))
        return f"{left} boxes instead of {shown}; the best score is {two:.1%} instead of {one:.1%}"
    assert isinstance(result, Mask)
    assert isinstance(other, Mask)
    return f"{(result.classes != other.classes).mean():.2%} of the pixels change their class"
