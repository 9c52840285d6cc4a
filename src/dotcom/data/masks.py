"""Photos with masks of class indices, from Pascal VOC or the user's own folders."""

from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from dotcom.annotations.folders import remembered
from dotcom.annotations.masks import IGNORE, Pair, check_masks, class_names, open_mask, read_masks
from dotcom.annotations.voc_masks import CLASSES, read_voc_masks
from dotcom.data.files import ImageFiles
from dotcom.data.module import Split

Transform = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class MaskFiles(ImageFiles):
    """Samples (image, mask) through ``transform``, or None for files that cannot be used.

    What ``transform`` is given:

    - a ``tv_tensors.Image``, uint8 (3, H, W);
    - a ``tv_tensors.Mask``, uint8 (H, W), with the class of each pixel, or 255 to ignore it.

    Args:
        pairs: Image and mask of each sample.
        classes: Class names, in the order of the values.
        transform: Applied to each pair.

    Attributes:
        masks: Mask files, in the order of the samples.
    """

    def __init__(self, pairs: Sequence[Pair], classes: Sequence[str], transform: Transform) -> None:
        super().__init__([image for image, _ in pairs], classes)
        self.masks = [mask for _, mask in pairs]
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None:
        image, mask = self.read(index), self._read_mask(index)
        if image is not None and mask is not None and mask.shape != image.shape[-2:]:
            image = self.read(index, upright=False)  # a mask drawn on the stored picture, before it is turned by EXIF
        if image is None or mask is None:
            return None
        if mask.shape != image.shape[-2:]:
            found, (height, width) = f"{image.shape[-1]}x{image.shape[-2]}", mask.shape
            self.skip(index, f"it is {found}, but its mask {self.masks[index]} is {width}x{height}")
            return None
        return self.transform(tv_tensors.Image(image), tv_tensors.Mask(mask))

    def mask_source(self, index: int) -> Path | BytesIO:
        """Where the mask is, or what its file holds."""
        return self.masks[index]

    def _read_mask(self, index: int) -> Tensor | None:
        path, known = self.masks[index], len(self.classes)
        try:
            mask = torch.from_numpy(np.array(open_mask(self.mask_source(index))))
        except ValueError as error:
            self.skip(index, f"its mask {path} {error}")
            return None
        if (value := int(mask.where(mask != IGNORE, 0).max())) >= known:
            self.skip(index, f"its mask {path} holds the value {value}, but there are {known} classes")
            return None
        return mask

    def check(self) -> None:
        """Look at every mask once, with a progress bar; a set that passed is remembered until a file changes.

        Raises:
            UsageError: Naming the first three masks that do not fit their image or the classes.
        """
        pairs = list(zip(self.paths, self.masks, strict=True))
        remembered(
            f"masks-{len(self.classes)}", [*self.paths, *self.masks], lambda: check_masks(pairs, len(self.classes))
        )


def voc(split: Split, root: str, transform: Transform) -> MaskFiles:
    """Pascal VOC 2012, 21 classes with the background: 1,464 train (10,582 with SBD) and 1,449 val photos."""
    return MaskFiles(read_voc_masks(root, split), CLASSES, transform)


def image_masks(split: Split, root: str, transform: Transform, num_classes: int) -> MaskFiles:
    """The user's own photos and masks: ``root/train/{images,masks}``, ``root/val/{images,masks}``, or without splits.

    Args:
        split: Train or val; without folders of these names, val is a fixed tenth.
        root: Folder of the data.
        transform: From a pair (image, mask) to another.
        num_classes: How many values the masks have, less 255; the names are those in ``root/classes.txt``, if any.
    """
    classes = class_names(root) or [f"class {number}" for number in range(num_classes)]
    return MaskFiles(read_masks(root, split), classes, transform)
