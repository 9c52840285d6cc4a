"""Where a data set in COCO's format has its images and annotations, in the layouts that tools export."""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from dotcom.annotations.folders import VAL_NAMES, existing_root
from dotcom.errors import UsageError

IMAGES = {"train": "train", "val": "val"}  # the values of data.dataset.images in conf/data/coco_format.yaml
ANNOTATIONS = {"train": "train.json", "val": "val.json"}
YEARS = ("", "2017", "2014")
SINGLE = (  # one file without splits: Label Studio, CVAT, Roboflow, others
    *("result.json", "annotations/instances_default.json", "_annotations.coco.json", "train/_annotations.coco.json"),
    *("annotations.json", "instances.json", "annotations/instances.json", "annotations/annotations.json"),
    *("coco.json", "labels.json"),
)
HEAD = 2**20  # bytes of an annotation file that are searched for a first file name
EXPECTED = (
    "expected one folder of images and one file of annotations in COCO's format for each of train and val, "
    "named by data.dataset.images and data.dataset.annotations"
)
LOOKED_FOR = (
    "train.json + train/, train/_annotations.coco.json + valid/_annotations.coco.json (Roboflow), "
    "annotations/instances_train.json + annotations/instances_val.json (CVAT, also with 2017), result.json + images/ "
    "(Label Studio) and annotations/instances_default.json"
)


@dataclass(frozen=True)
class CocoLayout:
    """Where the images and annotations of a data set are.

    Attributes:
        root: The folder of the data.
        images: Folder of each split, relative to ``root``.
        annotations: JSON file of each split, relative to ``root``.
        single: Whether both splits are in one file, of which a fixed tenth of the images is val.
    """

    root: Path
    images: dict[str, str]
    annotations: dict[str, str]
    single: bool = False

    def __str__(self) -> str:
        if self.single:
            place = f"{self.annotations['train']} with images in {self.images['train']}"
            return f"{place}; it has no splits, so a tenth of the images, chosen by a hash of their names, is val"
        return ", ".join(f"{split}: {self.annotations[split]} with images in {self.images[split]}" for split in IMAGES)


def find_coco(root: str | None, images: Mapping[str, str], annotations: Mapping[str, str]) -> CocoLayout:
    """Take the places that the configuration names; if these are the usual ones and not there, look for others.

    A layout that was found is said in one line.

    Args:
        root: ``data.root``.
        images: Folder of ``train`` and of ``val``, relative to ``root``.
        annotations: JSON file of ``train`` and of ``val``, relative to ``root``.

    Raises:
        UsageError: If a folder or file is missing; it lists what was looked for.
    """
    folder = existing_root(root, EXPECTED)
    named = CocoLayout(folder, dict(images), dict(annotations))
    files = [folder / name for name in named.annotations.values()]
    if any(file.is_file() for file in files) or (named.images, named.annotations) != (IMAGES, ANNOTATIONS):
        _check_named(named)
        return named
    found = next(_known_layouts(folder), None)
    if found is None:
        raise UsageError(
            f"data.root={root}: there are no annotations in COCO's format; looked for {LOOKED_FOR}; set "
            f"data.dataset.annotations.train=FILE, .val=FILE, and data.dataset.images.train=FOLDER, .val=FOLDER"
        )
    warnings.warn(f"data.root={root}: {found}", stacklevel=2)
    return found


def _check_named(layout: CocoLayout) -> None:
    for split in IMAGES:
        file, place = layout.annotations[split], layout.images[split]
        if not (layout.root / file).is_file():
            raise UsageError(
                f"data.dataset.annotations.{split}={file}: no such file {layout.root / file}; {EXPECTED}; set "
                f"data.root=PATH or data.dataset.annotations.{split}=FILE"
            )
        if not (layout.root / place).is_dir():
            raise UsageError(
                f"data.dataset.images.{split}={place}: no such folder {layout.root / place}; {EXPECTED}; set "
                f"data.root=PATH or data.dataset.images.{split}=FOLDER"
            )


def _known_layouts(root: Path) -> Iterator[CocoLayout]:
    for val in VAL_NAMES:
        pair = {"train": "train/_annotations.coco.json", "val": f"{val}/_annotations.coco.json"}
        if _are_files(root, pair):
            yield CocoLayout(root, {"train": "train", "val": val}, pair)
    for form in ("annotations/instances_{}.json", "annotations/{}.json", "instances_{}.json", "{}.json"):
        for year in YEARS:
            for val in VAL_NAMES:
                names = {"train": f"train{year}", "val": f"{val}{year}"}
                pair = {split: form.format(name) for split, name in names.items()}
                places = {split: _folder_of(root, file, names[split]) for split, file in pair.items()}
                if _are_files(root, pair) and all(places.values()):
                    yield CocoLayout(root, {split: str(place) for split, place in places.items()}, pair)
    for file in SINGLE:
        if (root / file).is_file() and (place := _folder_of(root, file, "default")):
            yield CocoLayout(root, dict.fromkeys(IMAGES, place), dict.fromkeys(IMAGES, file), single=True)


def _are_files(root: Path, names: Mapping[str, str]) -> bool:
    return all((root / name).is_file() for name in names.values())


def _folder_of(root: Path, file: str, split: str) -> str | None:
    """The folder, relative to ``root``, that holds the first image of an annotation file; None if none does."""
    name = _first_image(root / file)
    places = [split, f"images/{split}", "images", str(Path(file).parent), "."]
    return next((place for place in places if name is not None and (root / place / name).is_file()), None)


def _first_image(file: Path) -> str | None:
    """The first ``file_name`` of an annotation file, from its beginning alone; None if there is none."""
    if not file.is_file():
        return None
    with file.open("rb") as content:
        head = content.read(HEAD).decode(errors="replace")
    found = re.search(r'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', head)
    try:
        return str(json.loads(found[1])) if found else None
    except ValueError:
        return None
