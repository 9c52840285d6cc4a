"""What there is to prepare: each image of a data set, with its mask or boxes, and where it goes."""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from dotcom.annotations.boxes import Photos
from dotcom.annotations.coco import read_coco
from dotcom.annotations.coco_layout import find_coco
from dotcom.annotations.folders import is_inside
from dotcom.annotations.masks import class_names, mask_classes, read_masks
from dotcom.data.folders import image_folder, imagenet
from dotcom.errors import UsageError

Split = Literal["train", "val"]

SPLITS: tuple[Split, ...] = ("train", "val")
JPEG = (".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Piece:
    """One image and what belongs to it.

    Attributes:
        image: The file.
        name: Where it goes, relative to the prepared folder, if it stays as it is.
        as_jpeg: Where it goes if it becomes a JPEG.
        label: Class index, of labelled images.
        mask: The file of its mask, if any; it becomes a PNG.
        mask_name: Where that goes.
        size: (H, W) that its annotation says, if any.
        keep: It stays as it is, whatever its size.
    """

    image: Path
    name: str
    as_jpeg: str
    label: int = 0
    mask: Path | None = None
    mask_name: str = ""
    size: tuple[int, int] | None = None
    keep: bool = False


@dataclass(frozen=True)
class Plan:
    """All pieces of a data set.

    Attributes:
        kind: labels, boxes or masks.
        classes: Their names.
        pieces: Of each split, in the order of the data set.
        photos: Boxes of each split, of a set of boxes.
        places: For boxes, the folder of images and the annotation file of each split, relative to the prepared folder.
        sources: For boxes, the annotation file of each split.
    """

    kind: str
    classes: list[str]
    pieces: dict[Split, list[Piece]]
    photos: dict[Split, Photos] = field(default_factory=dict)
    places: dict[Split, tuple[str, str]] = field(default_factory=dict)
    sources: dict[Split, Path] = field(default_factory=dict)

    @property
    def is_split(self) -> bool:
        """Whether each split has annotations of its own."""
        return len(set(self.sources.values())) == len(self.sources)

    @cached_property
    def names(self) -> dict[Split, set[str]]:
        """Of the pieces of each split."""
        return {split: {piece.name for piece in self.pieces[split]} for split in SPLITS}


def plan_of(data: dict[str, Any]) -> Plan:
    """From the ``data`` of a configuration.

    Validation images of boxes and masks are kept as they are, because their scores are measured in pixels of the
    originals: COCO's areas, and mIoU over whole images.
    """
    function = str(data["dataset"]["_target_"]).rpartition(".")[2]
    plan = PLANS[function](str(data["root"]), data["dataset"])
    if both := sorted(plan.names["train"] & plan.names["val"]):
        raise UsageError(f"data.root={data['root']}: {both[0]} is in train and in val; expected separate images")
    return plan


def labelled(published: Callable[..., Any]) -> Callable[[str, dict[str, Any]], Plan]:
    """A plan of class folders."""

    def plan(root: str, options: dict[str, Any]) -> Plan:
        base, pieces = Path(root).expanduser(), {}
        for split in SPLITS:
            found = published(split, str(base), lambda image: image)
            names = [path.relative_to(base).as_posix() for path in found.paths]
            jpegs = as_jpegs(names)
            pieces[split] = [
                Piece(path, name, jpeg, label)
                for path, name, jpeg, label in zip(found.paths, names, jpegs, found.labels, strict=True)
            ]
        return Plan("labels", found.classes, pieces)

    return plan


def boxed(root: str, options: dict[str, Any]) -> Plan:
    """A plan of photos with boxes in COCO's format."""
    layout = find_coco(root, options["images"], options["annotations"])
    photos = {split: read_coco(root, options["images"], options["annotations"], split) for split in SPLITS}
    places = {split: (layout.images[split], layout.annotations[split]) for split in SPLITS}
    if layout.single:  # the result has splits
        places = {split: (split, f"{split}.json") for split in SPLITS}
    for place in [place for pair in places.values() for place in pair]:
        if not is_inside(place):
            raise UsageError(f"data.dataset: {place} lies outside of data.root={root}; expected names within it")
    pieces = {}
    for split in SPLITS:
        folder = layout.root / layout.images[split]
        paths = [Path(os.path.relpath(photo.path, folder)).as_posix() for photo in photos[split].photos]
        names = [str(PurePosixPath(places[split][0], path)) for path in paths]
        pieces[split] = [
            Piece(photo.path, name, jpeg, size=photo.size, keep=split == "val")
            for photo, name, jpeg in zip(photos[split].photos, names, as_jpegs(names), strict=True)
        ]
    sources = {split: layout.root / layout.annotations[split] for split in SPLITS}
    return Plan("boxes", photos["train"].classes, pieces, photos, places, sources)


def masked(root: str, options: dict[str, Any]) -> Plan:
    """A plan of photos with masks; the result has folders for train and val, even if the source has none."""
    classes = class_names(root) or [f"class {number}" for number in range(mask_classes(root))]
    pieces = {}
    for split in SPLITS:
        pairs = read_masks(root, split)
        names = [f"{split}/images/{image.name}" for image, _ in pairs]
        pieces[split] = [
            Piece(image, name, jpeg, mask=mask, mask_name=f"{split}/masks/{mask.stem}.png", keep=split == "val")
            for (image, mask), name, jpeg in zip(pairs, names, as_jpegs(names), strict=True)
        ]
    return Plan("masks", classes, pieces)


def as_jpegs(names: list[str]) -> list[str]:
    """The same names with the ending of a JPEG, where they lack it; two that would be equal keep both endings."""
    wanted = [name if is_jpeg(name) else str(PurePosixPath(name).with_suffix(".jpg")) for name in names]
    times = Counter(wanted)
    return [
        name if is_jpeg(name) else want if times[want] == 1 else f"{name}.jpg"
        for name, want in zip(names, wanted, strict=True)
    ]


def is_jpeg(name: str) -> bool:
    """Whether a name ends like that of a JPEG."""
    return name.lower().endswith(JPEG)


PLANS: dict[str, Callable[[str, dict[str, Any]], Plan]] = {
    "image_folder": labelled(image_folder),
    "imagenet": labelled(imagenet),
    "coco_format": boxed,
    "image_masks": masked,
}
