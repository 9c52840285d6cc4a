"""All that a run does with a data set, from the check before torch to each sample."""

from functools import partial
from pathlib import Path

from dotcom.annotations.coco import coco_classes
from dotcom.annotations.masks import mask_classes
from dotcom.annotations.voc import voc_detection_classes
from dotcom.annotations.voc_masks import voc_classes
from dotcom.annotations.yolo import yolo_classes
from dotcom.data.boxes import coco_format, voc_detection, yolo_format
from dotcom.data.folders import image_folder
from dotcom.data.masks import image_masks, voc
from dotcom.data.preflight import check_sets
from dotcom.data.streaming import streamed
from dotcom.layout import class_folders
from dotcom.prepared import check_count, classes_of, note_prepared, read_prepared

PLACES = {"train": "train", "val": "val"}
FILES = {"train": "train.json", "val": "val.json"}
TARGETS = {"labels": "image_folder", "boxes": "coco_format", "masks": "image_masks"}


def read_boxes(choice: str, root: Path) -> None:
    """What the check before torch looks at, and what the data set is made of, to the tensors of an image."""
    if choice == "coco":
        coco_classes(str(root), PLACES, FILES)
        make = partial(coco_format, images=PLACES, annotations=FILES)
    else:
        (voc_detection_classes if choice == "voc" else yolo_classes)(str(root))
        make = voc_detection if choice == "voc" else yolo_format
    for split in PLACES:
        samples = make(split, str(root), lambda image, target: (image, target))
        samples.check()
        for number in range(len(samples)):
            samples[number]


def use_masks(root: Path) -> None:
    """What is looked at before torch, then every sample."""
    count = mask_classes(str(root), None)
    for split in ("train", "val"):
        samples = image_masks(split, str(root), lambda image, mask: (image, mask), count)
        samples.check()
        for number in range(len(samples)):
            samples[number]


def use_voc_masks(root: Path) -> None:
    """Masks of Pascal VOC."""
    voc_classes(str(root))
    for split in ("train", "val"):
        samples = voc(split, str(root), lambda image, mask: (image, mask))
        samples.check()
        for number in range(len(samples)):
            samples[number]


def use_class_folders(root: Path, check: bool) -> None:
    """Photos in a folder for each class, decoded at the start or one by one."""
    class_folders(str(root))
    sets = [image_folder(split, str(root), lambda image: image) for split in ("train", "val")]
    check_sets(sets, files=check)
    for samples in sets:
        for number in range(len(samples)):
            samples[number]


def use_prepared(kind: str, root: Path) -> None:
    """All that a run does with prepared data."""
    facts = read_prepared(str(root))
    classes_of(lambda root: 1)(str(root))
    note_prepared({"root": str(root), "dataset": {"_target_": f"dotcom.data.{TARGETS[kind]}"}})
    if facts is None or facts["form"] != "shards":
        return
    for split in ("train", "val"):
        samples = streamed(split, str(root), lambda *sample: sample)
        check_count(str(root), facts, split, len(samples))
        samples.check()
        for number in range(min(len(samples), 8)):
            samples[number]
