"""Photos with boxes, from files in COCO's format, YOLO's or Pascal VOC's."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors

from dotcom.annotations.boxes import Photo, Photos, check_sizes
from dotcom.annotations.coco import read_coco
from dotcom.annotations.folders import remembered
from dotcom.annotations.voc import read_voc_boxes
from dotcom.annotations.yolo import read_yolo
from dotcom.data.files import ImageFiles
from dotcom.data.module import Split

Target = dict[str, Any]
Transform = Callable[[Tensor, Target], tuple[Tensor, Target]]


class BoxFiles(ImageFiles):
    """Samples (image, target) through ``transform``, or None for a file that cannot be used.

    What ``transform`` is given:

    - a ``tv_tensors.Image``, uint8 (3, H, W);
    - a dict with ``boxes``, ``tv_tensors.BoundingBoxes`` float32 (N, 4), x1 y1 x2 y2 in pixels, and ``labels``, int64
      (N,), from 0 on without a background. In train, crowds are left out. In val, they are there, and so are
      ``iscrowd``, int64 (N,); ``area``, float32 (N,) in px^2; ``original``, float32 (N, 4), the boxes again as a plain
      tensor that no transform changes; ``image_id``; and ``size``, (H, W).

    A photo without objects has N = 0. One whose size is not that of its annotation is skipped, for its boxes would be
    elsewhere.

    Args:
        photos: Files and boxes of the split.
        split: Train or val.
        transform: Applied to each pair.

    Attributes:
        category_ids: The id that the annotations give to each class.
    """

    def __init__(self, photos: Photos, split: Split, transform: Transform) -> None:
        super().__init__([photo.path for photo in photos.photos], photos.classes)
        self.category_ids = list(photos.category_ids)
        self.split = split
        self.transform = transform
        kept = [[box for box in photo.boxes if split == "val" or not box.crowd] for photo in photos.photos]
        boxes = [box for some in kept for box in some]
        # flat tensors: a million small objects would be copied into every loader process, page by page
        self.sizes = torch.tensor([photo.size for photo in photos.photos]).reshape(-1, 2)
        self.image_ids = torch.tensor([photo.number for photo in photos.photos])
        self.ends = torch.tensor([0, *map(len, kept)]).cumsum(0)
        self.corners = torch.tensor([box.corners for box in boxes], dtype=torch.float32).reshape(-1, 4)
        self.labels = torch.tensor([box.label for box in boxes], dtype=torch.int64)
        self.crowds = torch.tensor([box.crowd for box in boxes], dtype=torch.int64)
        self.areas = torch.tensor([box.area for box in boxes], dtype=torch.float32)

    def __getitem__(self, index: int) -> tuple[Tensor, Target] | None:
        image, expected = self.read(index), self.sizes[index].tolist()
        if image is not None and list(image.shape[-2:]) != expected:
            image = self.read(index, upright=False)  # boxes drawn on the stored picture, before it is turned by EXIF
        if image is None:
            return None
        height, width = image.shape[-2:]
        if [height, width] != expected:
            self.skip(index, f"it is {width}x{height}, but its annotation is for {expected[1]}x{expected[0]}")
            return None
        return self.transform(tv_tensors.Image(image), self._target(index, (height, width)))

    def check(self) -> None:
        """Compare the size of every image with its annotation; a set that passed is remembered until a file changes.

        Raises:
            UsageError: Naming the first three that differ.
        """
        sizes = self.sizes.tolist()
        said = hashlib.sha256(str(sizes).encode()).hexdigest()[:16]
        photos = [Photo(path, 0, (height, width), []) for path, (height, width) in zip(self.paths, sizes, strict=True)]
        remembered(f"sizes-{said}", self.paths, partial(check_sizes, photos))

    def _target(self, index: int, size: tuple[int, int]) -> Target:
        rows = slice(*self.ends[index : index + 2].tolist())
        # clones: a view would take the boxes of all images along to another process
        corners = self.corners[rows].clone()
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size)
        target: Target = {"boxes": boxes, "labels": self.labels[rows].clone()}
        if self.split == "val":
            target |= {
                "iscrowd": self.crowds[rows].clone(),
                "area": self.areas[rows].clone(),
                "original": corners.clone(),
                "image_id": int(self.image_ids[index]),
                "size": size,
            }
        return target


def coco_format(
    split: Split, root: str, transform: Transform, images: Mapping[str, str], annotations: Mapping[str, str]
) -> BoxFiles:
    """Boxes in COCO's JSON format.

    Args:
        split: Train or val.
        root: Folder of the data.
        transform: From a pair (image, target) to another.
        images: Folder of each split, relative to ``root``.
        annotations: JSON file of each split, relative to ``root``.
    """
    return BoxFiles(read_coco(root, images, annotations, split), split, transform)


def yolo_format(split: Split, root: str, transform: Transform) -> BoxFiles:
    """Boxes in YOLO's format, as Ultralytics, Roboflow, CVAT and Label Studio export them."""
    return BoxFiles(read_yolo(root, split), split, transform)


def voc_detection(split: Split, root: str, transform: Transform) -> BoxFiles:
    """Pascal VOC: 2007 + 2012 trainval (16,551 photos) to train on, 2007 test (4,952) as val, 20 classes."""
    return BoxFiles(read_voc_boxes(root, split), split, transform)
