"""Boxes that follow their photos to another size."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dotcom.annotations.boxes import Box, Photo, Photos
from dotcom.annotations.fields import as_number, as_whole
from dotcom.data.pieces import Plan, Split
from dotcom.errors import UsageError, flat
from dotcom.foreign import UNPARSABLE, brief

Sizes = Sequence[Any]  # of each photo that was read: name in the plan, name now, (H, W) before, (H, W) now
DIGITS = 4  # after the point, of pixels


def write_coco(plan: Plan, split: Split, sizes: Sizes, to: Path) -> None:
    """Write the annotations of a split for the prepared photos; outlines that are run lengths are left out."""
    folder, _ = plan.places[split]
    content = json.loads(plan.sources[split].read_bytes())
    now = {name: (new, before, after) for name, new, before, after in sizes}
    pairs = zip(plan.photos[split].photos, plan.pieces[split], strict=True)
    found = {photo.number: now[piece.name] for photo, piece in pairs if piece.name in now}
    images, annotations = [], []
    for image in content["images"]:
        if (number := as_whole(image["id"])) in found:
            name, _, (height, width) = found[number]
            images.append(image | {"file_name": name.removeprefix(f"{folder}/"), "width": width, "height": height})
    for annotation in content["annotations"]:
        if (number := as_whole(annotation["image_id"])) in found:
            annotations.append(annotation_scaled(annotation, *factors(*found[number][1:])))
    to.write_text(json.dumps(content | {"images": images, "annotations": annotations}))


def annotation_scaled(annotation: dict[str, Any], across: float, down: float) -> dict[str, Any]:
    """One object of COCO's format, scaled."""
    if across == down == 1:
        return annotation
    left, top, width, height = (float(value) for value in annotation["bbox"])
    bbox = [left * across, top * down, width * across, height * down]
    scaled = annotation | {"bbox": [round(value, DIGITS) for value in bbox]}
    if (area := as_number(annotation.get("area"))) is not None:
        scaled["area"] = round(area * across * down, DIGITS)
    outline = scaled.pop("segmentation", None)
    if isinstance(outline, list):
        steps = across, down
        scaled["segmentation"] = [[round(v * steps[at % 2], DIGITS) for at, v in enumerate(line)] for line in outline]
    return scaled


def photos_scaled(plan: Plan, split: Split, sizes: Sizes) -> dict[str, Any]:
    """The boxes of a split as plain values, in the order of ``sizes``; ``photos_from`` reads them."""
    pairs = zip(plan.pieces[split], plan.photos[split].photos, strict=True)
    known = {piece.name: photo for piece, photo in pairs}
    rows = []
    for name, new, before, after in sizes:
        across, down = factors(before, after)
        boxes = [
            [*box_scaled(box, across, down), box.label, box.crowd, round(box.area * across * down, DIGITS)]
            for box in known[name].boxes
        ]
        rows.append([new, known[name].number, after, boxes])
    return {"photos": rows, "category_ids": plan.photos[split].category_ids}


def photos_from(content: Any, classes: list[str], count: int, where: str) -> Photos:
    """What ``photos_scaled`` wrote.

    Args:
        content: Plain values.
        classes: Names of the classes.
        count: How many photos there are.
        where: What to call the file in an error.

    Raises:
        UsageError: If the values are others.
    """
    try:
        photos = [_photo_from(row, len(classes)) for row in content["photos"]]
        ids = content["category_ids"]
        if len(photos) != count or len(ids) != len(classes) or not all(as_whole(number) == number for number in ids):
            raise ValueError(f"{len(photos)} photos and {len(ids)} classes, not {count} and {len(classes)}")
    except UNPARSABLE as error:
        raise UsageError(f"{where}: damaged ({flat(str(error))}); run python -m dotcom.data.prepare again") from None
    return Photos(photos, classes, ids)


def _photo_from(row: Any, classes: int) -> Photo:
    name, number, (height, width), rows = row
    boxes = []
    for *corners, label, crowd, area in rows:
        left, top, right, bottom = (as_number(value) for value in corners)
        size = as_number(area)
        if None in (left, top, right, bottom, size) or not isinstance(crowd, bool):
            raise ValueError(f"a box of {brief(name)} holds no numbers")
        if type(label) is not int or not 0 <= label < classes:
            raise ValueError(f"a box of {brief(name)} has the label {brief(label)}")
        boxes.append(Box((left, top, right, bottom), label, crowd, size))  # type: ignore[arg-type]
    if as_whole(number) is None or not all(type(side) is int and 0 < side < 2**31 for side in (height, width)):
        raise ValueError(f"{brief(name)} has no number and size")
    return Photo(Path(name), int(number), (height, width), boxes)


def box_scaled(box: Box, across: float, down: float) -> list[float]:
    """The corners, scaled."""
    left, top, right, bottom = box.corners
    return [round(value, DIGITS) for value in (left * across, top * down, right * across, bottom * down)]


def factors(before: Sequence[int], after: Sequence[int]) -> tuple[float, float]:
    """Of x and of y."""
    return after[1] / before[1], after[0] / before[0]
