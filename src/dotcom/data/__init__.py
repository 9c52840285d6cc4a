"""Data sets as functions of a split, and the one DataModule that batches them."""

from dotcom.data.archives import cifar10, cifar100, fashion_mnist
from dotcom.data.fashion import fashion
from dotcom.data.folders import image_folder, imagenet
from dotcom.data.module import DataModule
from dotcom.data.transforms import crop_and_flip, resize_and_crop

__all__ = [
    "DataModule",
    "cifar10",
    "cifar100",
    "crop_and_flip",
    "fashion",
    "fashion_mnist",
    "image_folder",
    "imagenet",
    "resize_and_crop",
]
