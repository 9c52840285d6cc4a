"""Data sets as functions of a split, and the one DataModule that batches them."""

from dotcom.data.archives import cifar10, cifar100, fashion_mnist
from dotcom.data.boxes import coco_format, voc_detection
from dotcom.data.fashion import fashion
from dotcom.data.fashion_scenes import fashion_boxes, fashion_masks
from dotcom.data.folders import image_folder, imagenet
from dotcom.data.masks import image_masks, voc
from dotcom.data.module import DataModule
from dotcom.data.transforms import (
    augment_boxes,
    augment_masks,
    crop_and_flip,
    resize_and_crop,
    resize_boxes,
    whole_masks,
)

__all__ = [
    "DataModule",
    "augment_boxes",
    "augment_masks",
    "cifar10",
    "cifar100",
    "coco_format",
    "crop_and_flip",
    "fashion",
    "fashion_boxes",
    "fashion_masks",
    "fashion_mnist",
    "image_folder",
    "image_masks",
    "imagenet",
    "resize_and_crop",
    "resize_boxes",
    "voc",
    "voc_detection",
    "whole_masks",
]
