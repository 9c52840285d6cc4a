"""Boxes in COCO's JSON format (https://cocodataset.org/#format-data): one file and one folder of images per split."""

import json
import posixpath
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from dotcom import foreign
from dotcom.annotations.boxes import (
    A_FEW,
    Box,
    Corners,
    Fitting,
    Photo,
    Photos,
    check_boxes,
    check_sizes,
    warn_of_uncounted,
    without_twins,
)
from dotcom.annotations.classes import tell_apart
from dotcom.annotations.coco_layout import CocoLayout, find_coco
from dotcom.annotations.fields import as_flag, as_number, as_text, as_whole
from dotcom.annotations.folders import first_three, held_out_tenth, is_inside, missing, other_spelling, spread
from dotcom.annotations.images import image_sizes
from dotcom.errors import UsageError
from dotcom.foreign import parse_json, read_foreign

LARGE = 12_000_000  # bytes; a file above takes seconds to parse and waits until the data set is built
FIELDS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
EXPECTED = (
    'expected COCO\'s layout: "images" (id, file_name, width, height), "annotations" (image_id, category_id, '
    'bbox [x, y, width, height] in pixels), "categories" (id, name)'
)
NUMBERS = {int, float}
NEARLY_ALL, MANY, ENOUGH = 0.9, 0.2, 4  # shares of boxes, and how many it takes to judge all by them


@dataclass(frozen=True, slots=True)
class Image:
    """One entry of "images"; a width or height that the file does not say is None."""

    number: int
    name: str
    width: int | None
    height: int | None


class Annotation(NamedTuple):
    """One entry of "annotations", with the box as its file has it: x, y, width, height in pixels."""

    id: Any  # for messages; the number of the entry where it has none
    image: int
    category: int
    box: tuple[float, float, float, float]
    area: float | None
    crowd: bool


@dataclass(frozen=True)
class Content:
    """What an annotation file holds; the names of the categories stand by their ids."""

    images: list[Image]
    annotations: list[Annotation]
    categories: dict[int, str]
    parents: dict[int, str]  # categories without annotations that are only the supercategory of others


def coco_classes(root: str | None, images: Mapping[str, str], annotations: Mapping[str, str]) -> int:
    """The number of classes, after a check of every annotation file that is not large.

    Args:
        root: ``data.root``.
        images: Folder of ``train`` and of ``val``, relative to ``root``.
        annotations: JSON file of ``train`` and of ``val``, relative to ``root``.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    return _classes(root, tuple(images.items()), tuple(annotations.items()))


@lru_cache
def _classes(root: str | None, images: tuple[tuple[str, str], ...], annotations: tuple[tuple[str, str], ...]) -> int:
    layout = find_coco(root, dict(images), dict(annotations))
    sources = {split: CocoFile(layout, split) for split in ("train", "val")}
    small = [source for source in sources.values() if source.file.stat().st_size <= LARGE]
    small = small or [min(sources.values(), key=lambda source: source.file.stat().st_size)]
    contents = {source.split: source.load() for source in small}
    splits = []
    for split, content in contents.items():
        other = "val" if split == "train" else "train"
        if content.parents and other not in contents:
            splits.append(sources[split].photos(content, sources[other].load()))
        else:
            splits.append(sources[split].photos(content, contents.get(other)))
    for found in splits:
        check_sizes(spread(found.photos), allowed=A_FEW)
    return len(splits[0].classes)


def read_coco(root: str | None, images: Mapping[str, str], annotations: Mapping[str, str], split: str) -> Photos:
    """Every image of ``split`` with its boxes; labels count the categories in the order of their ids, from 0 on.

    Boxes that reach beyond their image are clipped, those without area dropped, those that stand there twice count
    once; warnings count all of them, and boxes that are marked as crowds. A category that is only the supercategory
    of others, and has no annotation in either split, is left out.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    layout = find_coco(root, images, annotations)
    source = CocoFile(layout, split)
    content = source.load()
    others = None
    if split == "train" or content.parents:
        others = CocoFile(layout, "val" if split == "train" else "train").load()
    return source.photos(content, others)


class CocoFile:
    """The annotation file of one split, and the folder of its images."""

    def __init__(self, layout: CocoLayout, split: str) -> None:
        self.split, self.single = split, layout.single
        self.file, self.folder = layout.root / layout.annotations[split], layout.root / layout.images[split]
        self.name = f"data.dataset.annotations.{split}={layout.annotations[split]}"

    def load(self) -> Content:
        """Parse the file, whose entries have the fields that are read, with values that fit.

        Raises:
            UsageError: Naming the entry, what it holds, and what was expected.
        """
        content = self._lists()
        images = [self._image(number, entry) for number, entry in enumerate(content["images"])]
        categories = {}
        for number, entry in enumerate(content["categories"]):
            category = self._whole("categories", number, entry, "id")
            if category in categories:
                raise self._odd("categories", number, entry, "id", "an id that no other category has")
            categories[category] = self._text("categories", number, entry, "name")
        annotations = [self._annotation(number, entry) for number, entry in enumerate(content["annotations"])]
        self._check_ids(images, annotations, categories)
        return Content(images, annotations, categories, _parents(content["categories"], annotations, categories))

    def photos(self, content: Content, others: Content | None) -> Photos:
        """Images with their boxes, after all checks.

        Args:
            content: Of this file.
            others: Of the file of the other split, to compare the categories; None if it is not at hand.
        """
        names = self._names(content, others)
        annotations, images = content.annotations, self._of_split(content.images)
        self._check_boxes(content)
        photos = {image.number: self._photo(image) for image in images}
        labels = {number: label for label, number in enumerate(names)}
        fitting = Fitting("annotation ")
        for annotation in annotations:
            photo = photos.get(annotation.image)
            if photo is None:  # of the other split of a single file
                continue
            left, top, width, height = annotation.box
            corners = fitting.fit((left, top, left + width, top + height), photo.size, annotation.id)
            if corners:
                area = annotation.area or width * height  # of the outline; tools leave it out, or write null or 0
                photo.boxes.append(Box(corners, labels[annotation.category], annotation.crowd, area))
        fitting.warn(self.name)
        without_twins(self.name, photos.values())
        warn_of_uncounted(self.name, photos.values(), "iscrowd=1")
        found = Photos(list(photos.values()), list(names.values()), list(names))
        check_boxes(self.name, found.photos)
        return found

    def _lists(self) -> dict[str, Any]:
        content = parse_json(read_foreign(self.file, self.name, foreign.LARGE), self.name, EXPECTED)
        for key, fields in FIELDS.items():
            entries = content.get(key) if isinstance(content, dict) else None
            if not isinstance(entries, list):
                raise UsageError(f'{self.name}: it lacks the list "{key}"; {EXPECTED}')
            if not entries and key != "annotations":
                raise UsageError(f'{self.name}: "{key}" is empty; {EXPECTED}')
            for number, entry in enumerate(entries):
                if not isinstance(entry, dict) or any(field not in entry for field in fields):
                    raise UsageError(f'{self.name}: entry {number} of "{key}" lacks one of {fields}; {EXPECTED}')
        return dict(content)

    def _image(self, number: int, entry: dict[str, Any]) -> Image:
        name = entry["file_name"]
        if not isinstance(name, str) or not name:
            raise self._odd("images", number, entry, "file_name", "the name of a file, as text")
        if not is_inside(name):
            expected = f"a name relative to {self.folder} that does not leave it{other_spelling(self.folder, name)}"
            raise self._odd("images", number, entry, "file_name", expected)
        sides = [entry.get(side) for side in ("width", "height")]
        pixels = [None if side in (None, 0) else as_whole(side) for side in sides]
        for side, found, given in zip(("width", "height"), pixels, sides, strict=True):
            if given not in (None, 0) and (found is None or found < 1):
                raise self._odd("images", number, entry, side, "a whole number of pixels above 0")
        return Image(self._whole("images", number, entry, "id"), posixpath.normpath(name), pixels[0], pixels[1])

    def _annotation(self, number: int, entry: dict[str, Any]) -> Annotation:
        image = self._whole("annotations", number, entry, "image_id")
        category = self._whole("annotations", number, entry, "category_id")
        if (box := _as_box(entry["bbox"])) is None:
            raise self._odd("annotations", number, entry, "bbox", "[x, y, width, height] in pixels")
        if (crowd := as_flag(entry.get("iscrowd"))) is None:
            raise self._odd("annotations", number, entry, "iscrowd", "0 or 1")
        area = entry.get("area")
        size = None if area is None else as_number(area)
        if area is not None and size is None:
            raise self._odd("annotations", number, entry, "area", "a number of pixels, or null")
        return Annotation(entry.get("id", number), image, category, box, size and max(size, 0.0), crowd)

    def _whole(self, key: str, number: int, entry: dict[str, Any], field: str) -> int:
        if (found := as_whole(entry[field])) is None:
            raise self._odd(key, number, entry, field, "a whole number of at most 64 bits")
        return found

    def _text(self, key: str, number: int, entry: dict[str, Any], field: str) -> str:
        if (found := as_text(entry[field])) is None:
            raise self._odd(key, number, entry, field, "a name, as text")
        return found

    def _odd(self, key: str, number: int, entry: dict[str, Any], field: str, expected: str) -> UsageError:
        value = json.dumps(entry.get(field), ensure_ascii=False)
        shown = value if len(value) <= 80 else f"{value[:80]}..."
        named = f" (id {entry['id']})" if field != "id" and "id" in entry else ""
        return UsageError(f'{self.name}: entry {number} of "{key}"{named} has {field}={shown}; expected {expected}')

    def _check_ids(self, images: list[Image], annotations: list[Annotation], categories: dict[int, str]) -> None:
        by_id: dict[int, str] = {}
        by_name: dict[str, int] = {}
        for image in images:
            if image.number in by_id:
                two = f"{by_id[image.number]} and {image.name}"
                raise UsageError(f"{self.name}: the images {two} have the id {image.number}; expected one id for each")
            if image.name in by_name:
                raise UsageError(
                    f"{self.name}: {image.name} is listed under the ids {by_name[image.name]} and {image.number}, so "
                    f"that the objects of one would be background in the other; expected one entry for each file"
                )
            by_id[image.number], by_name[image.name] = image.name, image.number
        for field, key, known in (("category", "categories", categories), ("image", "images", by_id)):
            ids = [getattr(annotation, field) for annotation in annotations]
            if strangers := [number for number in ids if number not in known]:
                raise UsageError(
                    f'{self.name}: {len(strangers)} annotations have an unknown {field}_id, not in "{key}": '
                    f'{first_three(dict.fromkeys(strangers))}; expected an id of "{key}", such as '
                    f"{first_three(sorted(known))}"
                )

    def _check_boxes(self, content: Content) -> None:
        """Find coordinates that are no x, y, width, height in pixels."""
        sizes = {image.number: (image.width, image.height) for image in content.images}
        boxes = [(annotation.box, sizes[annotation.image]) for annotation in content.annotations]
        if not boxes:
            return
        example = f"such as {list(boxes[0][0])} of annotation {content.annotations[0].id}"
        if sum(max(box) <= 1 for box, _ in boxes) >= NEARLY_ALL * len(boxes):
            raise UsageError(
                f"{self.name}: the boxes look like fractions of the image, {example}; {EXPECTED}; multiply x and "
                f"width by the width of the image, y and height by its height"
            )
        known = [(box, (width, height)) for box, (width, height) in boxes if width and height]
        beyond = sum(
            left + wide > width + 1 or top + high > height + 1 for (left, top, wide, high), (width, height) in known
        )
        as_corners = [_are_corners(box, size) for box, size in known]
        if len(known) >= ENOUGH and beyond > MANY * len(known) and all(as_corners):
            raise UsageError(
                f"{self.name}: the boxes look like corners [x1, y1, x2, y2], {example}: {beyond} of {len(known)} would "
                f"reach beyond their image; {EXPECTED}; subtract x1 and y1 from x2 and y2"
            )

    def _of_split(self, images: list[Image]) -> list[Image]:
        """Those of this split; a single file holds both."""
        if absent := missing(self.folder, [image.name for image in images]):
            raise UsageError(
                f"{self.name}: {len(absent)} of {len(images)} images are not in {self.folder}: {first_three(absent)}; "
                f"expected file_name relative to that folder, which data.dataset.images chooses"
                f"{other_spelling(self.folder, absent[0])}"
            )
        if not self.single:
            return images
        if len(images) < 2:
            raise UsageError(f"{self.name}: there is only one image; expected two or more, one of them for val")
        held_out = held_out_tenth([image.name for image in images])
        return [image for image in images if (image.name in held_out) == (self.split == "val")]

    def _photo(self, image: Image) -> Photo:
        path = self.folder / image.name
        if image.width and image.height:
            return Photo(path, image.number, (image.height, image.width), [])
        found = image_sizes(path)
        if found is None:
            said = f"it does not say the size of {image.name}, and that cannot be read"
            raise UsageError(f"{self.name}: {said}; expected width and height in pixels")
        width, height = found[1]
        return Photo(path, image.number, (height, width), [])

    def _names(self, content: Content, others: Content | None) -> dict[int, str]:
        """The names of the classes by the ids of their categories, without mere supercategories."""
        if others is not None:
            self._check_same(content.categories, others.categories)
        unused = {} if others is None else {key: name for key, name in content.parents.items() if key in others.parents}
        if unused:
            shown = first_three(f"{name} ({number})" for number, name in unused.items())
            said = f"{shown}: only a supercategory of others, without annotations; left out of the classes"
            warnings.warn(f"{self.name}: {said}", stacklevel=2)
        return tell_apart({key: name for key, name in content.categories.items() if key not in unused})

    def _check_same(self, mine: dict[int, str], theirs: dict[int, str]) -> None:
        other = "val" if self.split == "train" else "train"
        for split, only in ((self.split, mine.items() - theirs.items()), (other, theirs.items() - mine.items())):
            if only:
                names = first_three(f"{number} {name}" for number, name in sorted(only))
                raise UsageError(
                    f"data.dataset.annotations: {len(only)} categories are only in the file of {split}: {names}; "
                    f"expected the same ids and names in both"
                )


def _parents(
    entries: list[dict[str, Any]], annotations: list[Annotation], categories: dict[int, str]
) -> dict[int, str]:
    used = {annotation.category for annotation in annotations}
    above: dict[str, set[int]] = {}  # ids of the categories that name each supercategory
    for number, entry in zip(categories, entries, strict=True):
        above.setdefault(str(entry.get("supercategory")), set()).add(number)
    return {
        number: name for number, name in categories.items() if number not in used and above.get(name, set()) - {number}
    }


def _as_box(value: Any) -> tuple[float, float, float, float] | None:
    """Four finite numbers, or None for anything else."""
    if not isinstance(value, list) or len(value) != 4:
        return None
    left, top, width, height = value
    if {type(left), type(top), type(width), type(height)} <= NUMBERS and isfinite(left + top + width + height):
        return left, top, width, height  # nearly always; COCO has 860,000 boxes
    sides = [as_number(side) for side in value]
    found = [side for side in sides if side is not None]
    return (found[0], found[1], found[2], found[3]) if len(found) == 4 else None


def _are_corners(box: Corners, size: tuple[int, int]) -> bool:
    left, top, right, bottom = box
    return left < right <= size[0] + 1 and top < bottom <= size[1] + 1
