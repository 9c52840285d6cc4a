"""The embedded photos, set into scenes: small default sets for detection and segmentation.

These are real photos in synthetic scenes, made to see a network learn in minutes; say so with every number.
"""

from collections.abc import Callable
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from torchvision import tv_tensors

from dotcom.data.fashion_photos import CLASSES
from dotcom.data.module import Split
from dotcom.data.scenes import Scene, SceneGenerator

SIZES: dict[Split, int] = {"train": 4000, "val": 500}
SPLITS: tuple[Split, ...] = ("train", "val")


class FashionScenes(Dataset[Any]):
    """Scenes of 128 x 128 pixels; train and val scenes share no photo. Each is made once and kept in memory.

    Args:
        split: Whose photos, and which scenes.
        sample: Makes (image, target) of a scene and its index.
        transform: Applied to the pair.
        classes: Names of the labels.
    """

    def __init__(
        self,
        split: Split,
        sample: Callable[[Scene, int], tuple[Any, Any]],
        transform: Callable[[Any, Any], Any],
        classes: list[str],
    ) -> None:
        with (files("dotcom.data.embedded") / "fashion.npz").open("rb") as file, np.load(file) as arrays:
            photos, labels = arrays[f"{split}_images"], arrays[f"{split}_labels"]
        self.generate = SceneGenerator(photos, labels, seed=(SPLITS.index(split), 0))
        self.made: dict[int, Scene] = {}
        self.size = SIZES[split]
        self.sample, self.transform, self.classes = sample, transform, classes
        self.category_ids = list(range(1, len(classes) + 1))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < self.size:
            raise IndexError(f"scene {index} of {self.size}")  # ends a loop over the set
        if index not in self.made:
            self.made[index] = self.generate(index)
        return self.transform(*self.sample(self.made[index], index))


def fashion_boxes(split: Split, transform: Callable[[Any, Any], Any]) -> FashionScenes:
    """4,000 train or 500 val scenes with 1 to 5 boxes of 10 classes, 40 to 88 pixels wide before they are turned."""
    return FashionScenes(split, partial(with_boxes, split=split), transform, list(CLASSES))


def fashion_masks(split: Split, transform: Callable[[Any, Any], Any]) -> FashionScenes:
    """The scenes of ``fashion_boxes`` with a class for every pixel: 0 is the ground, then the 10 classes."""
    return FashionScenes(split, with_mask, transform, ["background", *CLASSES])


def with_boxes(scene: Scene, index: int, split: Split) -> tuple[Any, Any]:
    """Image and target as :class:`dotcom.data.boxes.BoxFiles` gives them."""
    height, width = scene.instances.shape
    boxes = torch.from_numpy(scene.boxes)
    target: dict[str, Any] = {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "labels": torch.from_numpy(scene.labels),
    }
    if split == "val":
        area = np.bincount(scene.instances.ravel(), minlength=len(boxes) + 1)[1:]
        target |= {
            "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
            "area": torch.from_numpy(area).float(),
            "original": boxes,
            "image_id": index,
            "size": (height, width),
        }
    return pixels(scene), target


def with_mask(scene: Scene, index: int) -> tuple[Any, Any]:
    """Image and class mask."""
    return pixels(scene), tv_tensors.Mask(torch.from_numpy(scene.classes))


def pixels(scene: Scene) -> tv_tensors.Image:
    """The image of a scene, uint8 (3, H, W)."""
    return tv_tensors.Image(torch.from_numpy(scene.image).permute(2, 0, 1))
