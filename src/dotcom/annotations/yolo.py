"""Boxes in YOLO's format: a ``data.yaml``, folders of images, and a text file of boxes beside each image.

A line of a text file is ``class x y width height``, the centre and the size as fractions of the upright image, or
``class x1 y1 x2 y2 x3 y3 ...``, an outline, whose bounding box is taken. Exports of Roboflow, CVAT ("Ultralytics YOLO"
and "YOLO 1.1") and Label Studio are read as they are.

Source: https://docs.ultralytics.com/datasets/detect/
"""

import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from dotcom.annotations.boxes import Box, Corners, Fitting, Photo, Photos, check_boxes, without_twins
from dotcom.annotations.classes import read_class_names, read_text, tell_apart
from dotcom.annotations.fields import as_text, as_whole
from dotcom.annotations.folders import (
    VAL_NAMES,
    Hidden,
    existing_root,
    first_three,
    held_out_tenth,
    refuse,
    thread_map,
)
from dotcom.annotations.images import image_sizes
from dotcom.errors import UsageError, flat
from dotcom.foreign import UNPARSABLE, brief
from dotcom.layout import is_photo

CONFIGS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
NAME_FILES = ("classes.txt", "obj.names", "labels.txt")
EXPECTED = (
    'expected data.yaml with "names", "train" and "val", or classes.txt, and a folder "labels" beside each folder '
    '"images", with one line "class x y width height" (fractions of the image) for each box'
)
DEEPEST = 40  # folders in a name of data.yaml, or lists in lists
MOST = 1000  # keypoints, or values of each
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C where libyaml is there: 10 times as fast
ROUNDING = 1e-3  # by how much a fraction may leave 0..1: tools round to a few digits

Fractions = tuple[float, float, float, float]  # x1 y1 x2 y2 as fractions of the width and the height


@dataclass(frozen=True)
class YoloLayout:
    """What a data set in YOLO's format says of itself.

    Attributes:
        root: The folder of the data.
        source: The file that names the classes, relative to ``root``.
        classes: Names of the classes by their number.
        images: Image files of each split, sorted.
        single: Whether a fixed tenth of the images is val, because the data have no splits.
        keypoints: Numbers after each box that belong to its keypoints.
    """

    root: Path
    source: str
    classes: dict[int, str]
    images: dict[str, list[Path]]
    single: bool
    keypoints: int = 0

    def __str__(self) -> str:
        counts = ", ".join(f"{len(files):,} {split}" for split, files in self.images.items())
        tenth = "; it has no val split, so a tenth, chosen by a hash of the names, is val" if self.single else ""
        return f"{self.source}: {len(self.classes)} classes, {counts} images{tenth}"


def yolo_classes(root: str | None) -> int:
    """The number of classes, after a check of all label files.

    Raises:
        UsageError: If a file is missing or does not fit; one line.
    """
    for split in ("train", "val"):
        read_yolo(root, split)
    return len(find_yolo(root).classes)


@lru_cache
def read_yolo(root: str | None, split: str) -> Photos:
    """Every image of ``split`` with its boxes; an image without a label file, or with an empty one, has none.

    Labels are the numbers of the classes. The size of each image is read from its header.

    Raises:
        UsageError: If a folder or file is missing or does not fit; one line.
    """
    layout = find_yolo(root)
    where = f"data.root={root}: {split}"
    images = layout.images[split]
    labels = [_label_file(image) for image in images]
    known = thread_map(_is_there, labels, "label files")
    if not any(known):
        raise UsageError(f"{where}: not one of {len(images)} images has a label file, such as {labels[0]}; {EXPECTED}")
    lacking = [image.name for image, found in zip(images, known, strict=True) if not found]
    if lacking:
        said = f"{len(lacking)} of {len(images)} images have no label file and count as images without objects"
        warnings.warn(f"{where}: {said}: {first_three(lacking)}", stacklevel=2)
    rows = thread_map(lambda file: _read_labels(file, layout), labels, "label files")
    sizes = thread_map(image_sizes, images, "image sizes")
    fitting, photos = Fitting(), []
    for number, (image, found, boxes) in enumerate(zip(images, sizes, rows, strict=True), start=1):
        width, height = found[1] if found else (1, 1)  # an unreadable image is skipped by name when its turn comes
        photo = Photo(image, number, (height, width), [])
        for label, (left, top, right, bottom) in boxes:
            corners = (left * width, top * height, right * width, bottom * height)
            if inside := fitting.fit(corners, photo.size, image.name):
                photo.boxes.append(Box(inside, label, False, _area(inside)))
        photos.append(photo)
    fitting.warn(where)
    without_twins(where, photos)
    check_boxes(where, photos)
    return Photos(photos, list(layout.classes.values()), list(layout.classes))


@lru_cache
def find_yolo(root: str | None) -> YoloLayout:
    """Find the classes and the images of both splits, and say in one line what was found.

    Raises:
        UsageError: If something is missing; it lists what was looked for.
    """
    folder = existing_root(root, EXPECTED)
    config = next((name for name in CONFIGS if (folder / name).is_file()), None)
    layout = _from_names(folder) if config is None else _from_yaml(folder, config)
    for split, files in layout.images.items():
        if not files:
            raise UsageError(f"data.root={root}: {layout.source} leads to no {split} images; {EXPECTED}")
    warnings.warn(f"data.root={root}: {layout}", stacklevel=2)
    if both := len(set(layout.images["train"]) & set(layout.images["val"])):
        said = f"{both} of {len(layout.images['val'])} val images are in train, too, so that the scores flatter"
        warnings.warn(f"data.root={root}: {said}", stacklevel=2)
    return layout


def _from_yaml(folder: Path, config: str) -> YoloLayout:
    file = folder / config
    try:
        content = load_yaml(read_text(file))
    except (yaml.YAMLError, *UNPARSABLE) as error:
        raise UsageError(f"{file}: no YAML ({flat(str(error))}); {EXPECTED}") from None
    if not isinstance(content, Mapping):
        raise UsageError(f"{file}: it holds no settings; {EXPECTED}")
    classes = _names_of(content, file)
    places = {"train": content.get("train"), "val": content.get("val", content.get("valid"))}
    images: dict[str, list[Path]] = {}
    for split, named in places.items():
        if named is not None:
            bases = [folder / str(content["path"])] if isinstance(content.get("path"), str) else []
            images[split] = _images_of(named, [*bases, folder, folder.parent], folder, file, split)
    if "train" not in images:
        raise UsageError(f'{file}: it lacks "train", a folder or a list of images; {EXPECTED}')
    keypoints = content.get("kpt_shape")
    extra = _product(keypoints, file) if isinstance(keypoints, list) else 0
    return _with_splits(folder, config, classes, images, extra)


def load_yaml(text: str) -> Any:
    """Plain values of YAML; nothing in it is run.

    Raises:
        ValueError: If lists and mappings are nested deeper than in any settings: libyaml would overrun the stack.
        Exception: Of many kinds for text that is no YAML: ``yaml.YAMLError`` and those in ``UNPARSABLE``.
    """
    depth = 0
    for event in yaml.parse(text, LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("too deeply nested")
    return yaml.load(text, LOADER)


def _product(shape: list[Any], file: Path) -> int:
    counts = [as_whole(count) for count in shape]
    found = [count for count in counts if count is not None and 0 <= count <= MOST]
    if len(found) != len(shape) or len(shape) > 2:
        raise UsageError(f"{file}: kpt_shape={brief(shape)}; expected the numbers of keypoints and of their values")
    return math.prod(found)


def _names_of(content: Mapping[Any, Any], file: Path) -> dict[int, str]:
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    numbers = [as_whole(number) for number in names] if isinstance(names, Mapping) else []
    if not isinstance(names, Mapping) or not names or set(numbers) != set(range(len(names))):
        raise UsageError(
            f"{file}: names={brief(names)}; expected the names of the classes 0, 1, 2 ..., as a list or a mapping"
        )
    count = content.get("nc", len(names))
    if as_whole(count) != len(names):
        raise UsageError(
            f"{file}: nc={brief(count)}, but there are {len(names)} names; expected one name for each class"
        )
    if odd := [name for name in names.values() if not is_name(name)]:
        raise UsageError(f"{file}: names={brief(names)}; expected text for each class, not {brief(odd[0])}")
    return tell_apart({int(number): str(name) for number, name in names.items()})


def is_name(value: Any) -> bool:
    """Whether a value of YAML can name a class: text, or what YAML takes for a number, a date, yes or no."""
    return as_text(value) is not None or value is None or isinstance(value, (bool, date))


def _from_names(folder: Path) -> YoloLayout:
    name = next((name for name in NAME_FILES if (folder / name).is_file()), None)
    if name is None:
        looked = ", ".join([*CONFIGS[:2], *NAME_FILES])
        raise UsageError(f"data.root={folder}: there is no YOLO data set; looked for {looked}; {EXPECTED}")
    classes = dict(enumerate(read_class_names(folder / name)))
    images = {}
    for split, names in (("train", ("train",)), ("val", VAL_NAMES)):
        files = [f"{each}.txt" for each in names]
        places = [f"images/{each}" for each in names] + [f"{each}/images" for each in names]
        places += ["obj_train_data"] if split == "train" else ["obj_valid_data"]
        found = next((place for place in [*files, *places] if (folder / place).exists()), None)
        if found is not None:
            images[split] = _images_of(found, [folder, folder.parent], folder, folder / name, split)
    if not images and (folder / "images").is_dir():
        images["train"] = _images_of("images", [folder], folder, folder / name, "train")
    if "train" not in images:
        raise UsageError(f"data.root={folder}: {name} is there, but no folder images or images/train; {EXPECTED}")
    return _with_splits(folder, name, classes, images)


def _with_splits(
    folder: Path, source: str, classes: dict[int, str], images: dict[str, list[Path]], keypoints: int = 0
) -> YoloLayout:
    if images.get("val"):
        return YoloLayout(folder, source, classes, images, False, keypoints)
    files = images["train"]
    if len(files) < 2:
        raise UsageError(
            f"data.root={folder}: there are {len(files)} images; expected two or more, one of them for val"
        )
    held_out = held_out_tenth([file.name for file in files])
    split = {
        "train": [file for file in files if file.name not in held_out],
        "val": [file for file in files if file.name in held_out],
    }
    return YoloLayout(folder, source, classes, split, True, keypoints)


def _images_of(named: Any, bases: list[Path], root: Path, file: Path, split: str) -> list[Path]:
    """The image files of a folder, of a text file that lists them, or of several of these, as data.yaml names them."""
    found: list[Path] = []
    for name in named if isinstance(named, list) else [named]:
        if not isinstance(name, str) or re.match(r"[a-z]+://", name):
            raise UsageError(f"{file}: {split}={brief(name)}; expected a folder or a list of images within {root}")
        place = _place(name, bases, root)
        if place is None:
            raise UsageError(f"{file}: {split}={brief(name)}: no such folder or file in {root}; {EXPECTED}")
        found += _listed(place, bases, root) if place.is_file() else _in_folder(place, root)
    return sorted(dict.fromkeys(found))


def _place(name: str, bases: list[Path], root: Path) -> Path | None:
    """Where a name of data.yaml leads within ``root``; Roboflow writes ``../train/images`` for ``train/images``."""
    parts = [part for part in Path(name.replace("\\", "/")).parts if part not in ("..", ".", "/")]
    starts = range(len(parts) if len(parts) <= DEEPEST else 0)
    ends = [parts[start:] for start in starts if start == 0 or len(parts) - start > 1]
    candidates = [base / name for base in bases] + [root.joinpath(*end) for end in ends]
    limit = Path(os.path.abspath(root))
    tidy = [Path(os.path.abspath(place)) for place in candidates]
    return next((place for place in tidy if limit in place.parents and os.path.exists(place)), None)


def _in_folder(place: Path, root: Path) -> list[Path]:
    hidden = Hidden()
    files = [Path(file) for file in hidden.files_below(place) if is_photo(file)]
    if not files and (place / "images").is_dir():
        files = [Path(file) for file in hidden.files_below(place / "images") if is_photo(file)]
    hidden.warn(f"data.root={root}: {place.relative_to(root) if place.is_relative_to(root) else place}")
    return files


def _listed(file: Path, bases: list[Path], root: Path) -> list[Path]:
    """The images that a text file lists, one on each line."""
    lines = [line.strip() for line in read_text(file).splitlines() if line.strip()]
    places = {line: _place(line, [file.parent, *bases], root) for line in lines}
    if absent := [line for line, place in places.items() if place is None or not os.path.isfile(place)]:
        said = f"{len(absent)} of {len(lines)} images that it lists are not there: {first_three(absent)}"
        raise UsageError(f"{file}: {said}; expected paths within {root}")
    return [place for place in places.values() if place is not None]


def _label_file(image: Path) -> Path:
    """Beside the folder ``images`` in a folder ``labels``, or beside the image itself."""
    parts = list(image.parts)
    for at in range(len(parts) - 2, -1, -1):
        if parts[at] == "images":
            in_labels = Path(*parts[:at], "labels", *parts[at + 1 :]).with_suffix(".txt")
            if in_labels.parent.is_dir():
                return in_labels
            break
    return image.with_suffix(".txt")


def _is_there(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError as error:  # in a folder that must not be read
        refuse(error)


def _read_labels(file: Path, layout: YoloLayout) -> list[tuple[int, Fractions]]:
    if not file.is_file():
        return []
    lines = read_text(file).splitlines()
    return [_parse(line.split(), f"{file}: line {at}", layout) for at, line in enumerate(lines, 1) if line.strip()]


def _parse(words: list[str], where: str, layout: YoloLayout) -> tuple[int, Fractions]:
    """Label and corners of one line."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise UsageError(f"{where}: {' '.join(words)[:80]!r} are no numbers; {EXPECTED}") from None
    label = numbers[0]
    if not label.is_integer() or int(label) not in layout.classes:
        known = f"a class from 0 to {len(layout.classes) - 1}, as {layout.source} names them"
        raise UsageError(f"{where}: class {brief(words[0])}; expected {known}")
    values = numbers[1:]
    if layout.keypoints and len(values) == 4 + layout.keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        raise UsageError(f"{where}: {len(numbers)} numbers; {EXPECTED}, or an outline of three points or more")
    if not all(-ROUNDING <= value <= 1 + ROUNDING for value in values):  # also for NaN
        raise UsageError(f"{where}: {' '.join(words[1:])[:80]} are no fractions of the image from 0 to 1; {EXPECTED}")
    if len(values) == 4:
        x, y, width, height = values
        return int(label), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    across, down = values[0::2], values[1::2]
    return int(label), (min(across), min(down), max(across), max(down))


def _area(corners: Corners) -> float:
    left, top, right, bottom = corners
    return (right - left) * (bottom - top)
