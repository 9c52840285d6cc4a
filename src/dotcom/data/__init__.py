"""Data sets as functions of a split, and the one DataModule that batches them.

They are imported when they are asked for, so that ``python -m dotcom.data.prepare`` can answer a mistake at once.
"""

from importlib import import_module
from typing import Any

HOMES = {
    "DataModule": "module",
    "augment_boxes": "transforms",
    "augment_masks": "transforms",
    "cifar10": "archives",
    "cifar100": "archives",
    "coco_format": "boxes",
    "crop_and_flip": "transforms",
    "fashion": "fashion_photos",
    "fashion_boxes": "fashion_scenes",
    "fashion_masks": "fashion_scenes",
    "fashion_mnist": "archives",
    "image_folder": "folders",
    "image_masks": "masks",
    "imagenet": "folders",
    "resize_and_crop": "transforms",
    "resize_boxes": "transforms",
    "voc": "masks",
    "voc_detection": "boxes",
    "whole_masks": "transforms",
    "yolo_format": "boxes",
}

__all__ = list(HOMES)


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{HOMES[name]}"), name)
