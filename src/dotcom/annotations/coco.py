"""Boxes in COCO's JSON format (https://cocodataset.org/#format-data): one file and one folder of images per split."""

import json
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from dotcom.annotations.boxes import A_FEW, Box, Fitting, Photo, Photos, check_boxes, check_sizes
from dotcom.annotations.folders import existing_root, first_three, missing, spread
from dotcom.errors import UsageError

LARGE = 12_000_000  # bytes; a file above takes seconds to parse and waits until the data set is built
FIELDS = {
    "images": ("id", "file_name", "width", "height"),
    "annotations": ("image_id", "category_id", "bbox"),
    "categories": ("id", "name"),
}
WHOLE = {"images": ("id", "width", "height"), "categories": ("id",)}  # fields that hold whole numbers
EXPECTED = (
    'expected COCO\'s layout: "images" (id, file_name, width, height), "annotations" (image_id, category_id, '
    'bbox [x, y, width, height] in pixels), "categories" (id, name)'
)
FOLDERS = (
    "expected one folder of images and one file of annotations in COCO's format for each of train and val, "
    "named by data.dataset.images and data.dataset.annotations"
)


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
    sources = {split: _Source(root, split, dict(images), dict(annotations)) for split in ("train", "val")}
    small = [source for source in sources.values() if source.file.stat().st_size <= LARGE]
    small = small or [min(sources.values(), key=lambda source: source.file.stat().st_size)]
    contents = [(source, source.load()) for source in small]
    if len(contents) == 2:
        _check_same(*contents[0], *contents[1])
    splits = [source.photos(content) for source, content in contents]
    for split in splits:
        check_sizes(spread(split.photos), allowed=A_FEW)
    return len(splits[0].classes)


def read_coco(root: str | None, images: Mapping[str, str], annotations: Mapping[str, str], split: str) -> Photos:
    """Every image of ``split`` with its boxes; labels count the categories in the order of their ids, from 0 on.

    Boxes that reach beyond their image are clipped, those without area dropped; a warning counts both.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    source = _Source(root, split, images, annotations)
    content = source.load()
    if split == "train":
        other = _Source(root, "val", images, annotations)
        _check_same(source, content, other, other.load())
    return source.photos(content)


class _Source:
    """Where the images and annotations of one split are, and how the user named them."""

    def __init__(self, root: str | None, split: str, images: Mapping[str, str], annotations: Mapping[str, str]) -> None:
        folder = existing_root(root, FOLDERS)
        self.file, self.folder = folder / annotations[split], folder / images[split]
        self.name = f"data.dataset.annotations.{split}={annotations[split]}"
        if not self.file.is_file():
            raise UsageError(
                f"{self.name}: no such file {self.file}; {FOLDERS}; set data.root=PATH or "
                f"data.dataset.annotations.{split}=FILE"
            )
        if not self.folder.is_dir():
            raise UsageError(
                f"data.dataset.images.{split}={images[split]}: no such folder {self.folder}; {FOLDERS}; set "
                f"data.root=PATH or data.dataset.images.{split}=FOLDER"
            )

    def load(self) -> Any:
        """The file's content, whose lists have the fields that are read."""
        try:
            content = json.loads(self.file.read_bytes())
        except ValueError as error:
            raise UsageError(f"{self.name}: no JSON ({error}); {EXPECTED}") from None
        for key, fields in FIELDS.items():
            entries = content.get(key) if isinstance(content, dict) else None
            if not isinstance(entries, list):
                raise UsageError(f'{self.name}: it lacks the list "{key}"; {EXPECTED}')
            for number, entry in enumerate(entries):
                if not isinstance(entry, dict) or any(field not in entry for field in fields):
                    raise UsageError(f'{self.name}: entry {number} of "{key}" lacks one of {fields}; {EXPECTED}')
        for key, fields in WHOLE.items():
            if not content[key]:
                raise UsageError(f'{self.name}: "{key}" is empty; {EXPECTED}')
            for entry in content[key]:
                if odd := [f"{field}={entry[field]}" for field in fields if not isinstance(entry[field], int)]:
                    raise UsageError(f'{self.name}: "{key}" holds {odd[0]}; expected a whole number; {EXPECTED}')
        return content

    def photos(self, content: Any) -> Photos:
        """Images with their boxes, after all checks."""
        images, annotations, names = content["images"], content["annotations"], _categories(content)
        self._check_ids(content)
        if absent := missing(self.folder, [image["file_name"] for image in images]):
            raise UsageError(
                f"{self.name}: {len(absent)} of {len(images)} images are not in {self.folder}: {first_three(absent)}; "
                f"expected file_name relative to that folder, which data.dataset.images chooses"
            )
        photos = {
            image["id"]: Photo(self.folder / image["file_name"], image["id"], (image["height"], image["width"]), [])
            for image in images
        }
        labels = {number: label for label, number in enumerate(names)}
        fitting = Fitting()
        for number, annotation in enumerate(annotations):
            photo, named = photos[annotation["image_id"]], annotation.get("id", f"entry {number}")
            left, top, width, height = self._bbox(annotation["bbox"], named)
            if corners := fitting.fit((left, top, left + width, top + height), photo.size, f"annotation {named}"):
                area = annotation.get("area")  # of the outline; some tools leave it out, or write null
                area = float(area) if isinstance(area, (int, float)) else width * height
                crowd = bool(annotation.get("iscrowd", 0))
                photo.boxes.append(Box(corners, labels[annotation["category_id"]], crowd, area))
        fitting.warn(self.name)
        found = Photos(list(photos.values()), list(names.values()), list(names))
        check_boxes(self.name, found.photos)
        return found

    def _check_ids(self, content: Any) -> None:
        ids = {key: {entry["id"] for entry in content[key]} for key in ("images", "categories")}
        for key, known in ids.items():
            if len(known) < len(content[key]):
                counts = f"{len(content[key])} {key} have only {len(known)} different ids"
                raise UsageError(f"{self.name}: {counts}; {EXPECTED}")
        for field, key in (("category_id", "categories"), ("image_id", "images")):
            if strangers := [entry[field] for entry in content["annotations"] if entry[field] not in ids[key]]:
                raise UsageError(
                    f'{self.name}: {len(strangers)} annotations have an unknown {field}, not in "{key}": '
                    f'{first_three(dict.fromkeys(strangers))}; expected an id of "{key}", such as '
                    f"{first_three(sorted(ids[key]))}"
                )

    def _bbox(self, bbox: Any, named: object) -> list[float]:
        if isinstance(bbox, list) and len(bbox) == 4 and all(isinstance(value, (int, float)) for value in bbox):
            return bbox
        raise UsageError(f"{self.name}: bbox={bbox} of annotation {named}; expected [x, y, width, height] in pixels")


def _categories(content: Any) -> dict[int, str]:
    """Names by id; one that several categories share is told apart by their ids."""
    names = {category["id"]: str(category["name"]) for category in content["categories"]}
    bearers = Counter(names.values())
    return {number: name if bearers[name] == 1 else f"{name} ({number})" for number, name in sorted(names.items())}


def _check_same(one: _Source, content: Any, other: _Source, others: Any) -> None:
    mine, theirs = _categories(content), _categories(others)
    for source, only in ((one, mine.items() - theirs.items()), (other, theirs.items() - mine.items())):
        if only:
            names = first_three(f"{number} {name}" for number, name in sorted(only))
            raise UsageError(
                f"{one.name} and {other.name}: {len(only)} categories are only in {source.file.name}: {names}; "
                f"expected the same ids and names in both"
            )
