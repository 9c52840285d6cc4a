"""Photos and the boxes in them, the same from every file format."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dotcom.annotations.folders import first_three, thread_map
from dotcom.annotations.images import by, image_sizes
from dotcom.errors import UsageError, listed

A_FEW = 0.1  # share of photos of a wrong size with which a run may start; they are skipped, one by one

Corners = tuple[float, float, float, float]  # x1 y1 x2 y2 in pixels, x2 and y2 exclusive


@dataclass(frozen=True, slots=True)
class Box:
    """One object.

    Attributes:
        corners: x1 y1 x2 y2 in pixels, inside the image, with an area above 0.
        label: Class index from 0 on.
        crowd: A group (COCO), or difficult (VOC): neither trained on nor counted in the evaluation.
        area: px^2 of the object, which the evaluation sorts by size; COCO's is that of its outline.
    """

    corners: Corners
    label: int
    crowd: bool
    area: float


@dataclass(frozen=True, slots=True)
class Photo:
    """One image file: its number in the evaluation, its size (H, W) in pixels, its boxes."""

    path: Path
    number: int
    size: tuple[int, int]
    boxes: list[Box]


@dataclass(frozen=True, slots=True)
class Photos:
    """One split: photos, class names by label, and the id that the file gives to each class."""

    photos: list[Photo]
    classes: list[str]
    category_ids: list[int]


def check_boxes(where: str, photos: Sequence[Photo]) -> None:
    """There is something to find: without it there is no mean average precision.

    Raises:
        UsageError: If no photo has a box that is no crowd; it begins with ``where``.
    """
    if not any(not box.crowd for photo in photos for box in photo.boxes):
        raise UsageError(f"{where}: {len(photos)} images without one box that counts; expected boxes in each split")


def without_twins(where: str, photos: Iterable[Photo]) -> None:
    """Leave boxes out that stand in the file again, equal in all; a warning counts them."""
    twins = 0
    for photo in photos:
        if len({box.corners for box in photo.boxes}) < len(photo.boxes):
            different = list(dict.fromkeys(photo.boxes))
            twins += len(photo.boxes) - len(different)
            photo.boxes[:] = different
    if twins:
        warnings.warn(f"{where}: {twins} boxes stand there more than once, and count once", stacklevel=2)


def warn_of_uncounted(where: str, photos: Iterable[Photo], why: str) -> None:
    """Say which share of the boxes is neither trained on nor scored, if there are any."""
    boxes = [box for photo in photos for box in photo.boxes]
    if crowds := sum(box.crowd for box in boxes):
        said = f"{crowds:,} of {len(boxes):,} boxes ({crowds / len(boxes):.1%}) do not count, because they have {why}"
        warnings.warn(f"{where}: {said}", stacklevel=2)


def check_sizes(photos: Sequence[Photo], allowed: float = 0.0) -> int:
    """Photos have the size that their annotation says, or boxes would be elsewhere; returns their number.

    Args:
        photos: Files and what is said of them; the size may be that before or after a rotation by EXIF.
        allowed: Share that may be wrong, in [0, 1]; these are skipped, one by one, when their turn comes.

    Raises:
        UsageError: Naming the first three that are wrong.
    """
    wrong = [said for said in thread_map(_wrong_size, photos, "images") if said]
    if len(wrong) > allowed * len(photos):
        counts = f"{len(wrong)} of {len(photos)} images looked at are not of the size that their annotation says"
        raise UsageError(f"{counts}: {listed(wrong, limit=3, separator='; ')}; expected equal width and height")
    return len(photos)


def _wrong_size(photo: Photo) -> str:
    height, width = photo.size
    found = image_sizes(photo.path)
    if found is None or (width, height) in found:
        return ""
    return f"{photo.path} is {by(found[1])}, not {by((width, height))}"


class Fitting:
    """Fits boxes into their images, and names those that did not fit in one warning.

    Args:
        prefix: What stands before the name of a box in that warning.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.clipped: list[object] = []
        self.dropped: list[object] = []

    def fit(self, corners: Corners, size: tuple[int, int], name: object) -> Corners | None:
        """``corners`` inside an image of ``size`` (H, W), or None if no area is left; ``name`` is for the warning."""
        left, top, right, bottom = corners
        height, width = size
        if 0 <= left < right <= width and 0 <= top < bottom <= height:  # nearly always; COCO has 860,000 boxes
            return corners
        inside = max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height))
        if not (inside[2] > inside[0] and inside[3] > inside[1]):
            self.dropped.append(name)
            return None
        if max(abs(a - b) for a, b in zip(corners, inside, strict=True)) > 1:  # up to a pixel is a matter of rounding
            self.clipped.append(name)
        return inside

    def warn(self, where: str) -> None:
        """Say what happened to how many boxes of the file ``where``, if anything did."""
        for names, what in (
            (self.clipped, "reach beyond their image and were clipped to it"),
            (self.dropped, "have no area inside their image and were dropped"),
        ):
            if names:
                shown = first_three(f"{self.prefix}{name}" for name in names)
                warnings.warn(f"{where}: {len(names)} boxes {what}: {shown}", stacklevel=2)
