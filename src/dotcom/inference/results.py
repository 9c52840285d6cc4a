"""What a network says of one picture, as plain values. Nothing here imports torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Guess:
    """A class and its probability in [0, 1]; ``label`` is its index."""

    label: int
    name: str
    probability: float


@dataclass(frozen=True)
class Classes:
    """Of a classifier: the five most probable classes, or as many as there are, the best first."""

    top: tuple[Guess, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON writes it."""
        return {"top": [{"class": guess.name, "probability": guess.probability} for guess in self.top]}

    def line(self) -> str:
        """For people."""
        return ", ".join(f"{guess.name} {guess.probability:.1%}" for guess in self.top)


@dataclass(frozen=True)
class Box:
    """An object: its class, a score in [0, 1], and x1 y1 x2 y2 in pixels of the upright picture."""

    label: int
    name: str
    score: float
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Boxes:
    """Of a detector: at most 100 boxes, the best first."""

    boxes: tuple[Box, ...]

    def above(self, threshold: float) -> "Boxes":
        """Those whose score is ``threshold`` or more."""
        return Boxes(tuple(box for box in self.boxes if box.score >= threshold))

    def plain(self) -> dict[str, Any]:
        """As JSON writes it."""
        return {"boxes": [{"class": box.name, "score": box.score, "xyxy": list(box.xyxy)} for box in self.boxes]}

    def line(self) -> str:
        """For people."""
        shown = (f"{box.name} {box.score:.0%} [{' '.join(f'{side:.0f}' for side in box.xyxy)}]" for box in self.boxes)
        return ", ".join(shown) or "no box"


@dataclass(frozen=True)
class Share:
    """A class that a mask holds, and its share of the pixels in (0, 1]; ``label`` is its index."""

    label: int
    name: str
    share: float


@dataclass(frozen=True)
class Mask:
    """Of a segmenter: the class of every pixel.

    Attributes:
        classes: uint8 (H, W), class indices, in the size of the upright picture.
        shares: Of every class that occurs, the largest first.
    """

    classes: np.ndarray
    shares: tuple[Share, ...]

    def plain(self) -> dict[str, Any]:
        """As JSON writes it; the mask itself is a file."""
        return {"shares": {share.name: share.share for share in self.shares}}

    def line(self) -> str:
        """For people."""
        return ", ".join(f"{share.name} {share.share:.1%}" for share in self.shares)


Result = Classes | Boxes | Mask
