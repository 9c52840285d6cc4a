"""What happens to one image, as uint8 (3, H, W) from first to last; normalisation waits for the batch.

Boxes and masks are ``tv_tensors``, so that whatever moves the image moves them alike.
"""

from typing import Any, Literal

import torch
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2.functional import InterpolationMode, resize

AutoAugment = Literal["rand", "trivial"]
Interpolation = Literal["bilinear", "bicubic"]

GREY = (124, 116, 104)  # the mean colour of ImageNet: zero once normalised
IGNORED = 255  # value of mask pixels without a class

AUTO_AUGMENT: dict[AutoAugment, type[v2.Transform]] = {"rand": v2.RandAugment, "trivial": v2.TrivialAugmentWide}


def crop_and_flip(
    image_size: int,
    min_scale: float = 0.08,
    auto_augment: AutoAugment | None = None,
    random_erasing: float = 0.0,
    interpolation: Interpolation = "bilinear",
) -> v2.Compose:
    """Random resized crop and horizontal flip, then optionally RandAugment or TrivialAugment, and erasing.

    Source: the original's training transform is the crop (scale 0.08 to 1) and the flip alone.

    Args:
        image_size: Side of the square result, in pixels.
        min_scale: Smallest area of a crop, as a fraction of the image.
        auto_augment: ``"rand"`` (arXiv:1909.13719) or ``"trivial"`` (arXiv:2103.10158).
        random_erasing: Probability in [0, 1] of blacking out a rectangle (arXiv:1708.04896).
        interpolation: Of the resize, antialiased.
    """
    if auto_augment is not None and auto_augment not in AUTO_AUGMENT:
        raise ValueError(f"auto_augment must be one of {tuple(AUTO_AUGMENT)} or null, got {auto_augment!r}")
    steps: list[nn.Module] = [
        v2.RandomResizedCrop(
            image_size, (min_scale, 1.0), interpolation=InterpolationMode(interpolation), antialias=True
        ),
        v2.RandomHorizontalFlip(),
    ]
    if auto_augment:
        steps.append(AUTO_AUGMENT[auto_augment]())
    if random_erasing:
        steps.append(v2.RandomErasing(random_erasing))
    return v2.Compose(steps)


def resize_and_crop(image_size: int, resize: int, interpolation: Interpolation = "bilinear") -> v2.Compose:
    """Resize the shorter side to ``resize`` pixels and cut ``image_size`` x ``image_size`` from the centre.

    Source: the original's validation transform, with 288 and 256, bilinear.
    """
    small = v2.Resize(resize, interpolation=InterpolationMode(interpolation), antialias=True)
    steps: list[nn.Module] = [small, v2.CenterCrop(image_size)]
    return v2.Compose(steps)


def augment_boxes(
    image_size: int, iou_crop: bool = True, zoom_out: float = 4.0, photometric: bool = True
) -> v2.Compose:
    """SSD's augmentation, then a resize to a square; boxes left without area are dropped.

    Source: SSD (arXiv:1512.02325), Sections 2.2 and 3.6.

    Args:
        image_size: Side of the square result, in pixels.
        iou_crop: Crop so that the crop overlaps some object by at least a random IoU.
        zoom_out: In half of the cases, set the image into a mean-coloured canvas up to this many times as wide; 1 for
            never.
        photometric: Random brightness, contrast, saturation and hue.
    """
    steps: list[nn.Module] = [v2.RandomPhotometricDistort()] if photometric else []
    if zoom_out > 1:
        steps.append(v2.RandomZoomOut(fill=GREY, side_range=(1.0, zoom_out)))
    if iou_crop:
        steps += [IoUCrop(), v2.SanitizeBoundingBoxes()]
    steps += [
        v2.RandomHorizontalFlip(),
        v2.Resize((image_size, image_size), antialias=True),
        v2.ClampBoundingBoxes(),  # rounding puts boxes 1e-5 pixels beyond the edge, where the next step drops them
        v2.SanitizeBoundingBoxes(),
        v2.ToPureTensor(),
    ]
    return v2.Compose(steps)


def resize_boxes(image_size: int) -> v2.Compose:
    """Resize to a square, whatever the image's shape, as in training; no box is dropped."""
    return v2.Compose([v2.Resize((image_size, image_size), antialias=True), v2.ToPureTensor()])


def augment_masks(image_size: int, scale: tuple[float, float] = (0.5, 2.0), photometric: bool = True) -> v2.Compose:
    """Random scale, crop, flip and colour; what a crop has beyond the image is grey, and ignored in the mask.

    Source: DeepLabV3 (arXiv:1706.05587), Section 4.1.

    Args:
        image_size: Side of the square crop, in pixels.
        scale: Smallest and largest factor of the size.
        photometric: Random brightness, contrast, saturation and hue.
    """
    fill = {tv_tensors.Image: GREY, tv_tensors.Mask: IGNORED}
    steps: list[nn.Module] = [
        RandomScale(*scale),
        v2.RandomCrop(image_size, pad_if_needed=True, fill=fill),
        v2.RandomHorizontalFlip(),
    ]
    if photometric:
        steps.append(v2.RandomPhotometricDistort())
    return v2.Compose([*steps, v2.ToPureTensor()])


def whole_masks() -> v2.Compose:
    """Nothing: validation looks at images in their own size."""
    return v2.Compose([v2.ToPureTensor()])


class IoUCrop(v2.RandomIoUCrop):  # type: ignore[misc]
    """SSD's crop, but images of up to three pixels in height or width stay whole: a part could have no pixel."""

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        smallest = min(
            side for image in flat_inputs if isinstance(image, tv_tensors.Image) for side in image.shape[-2:]
        )
        return super().make_params(flat_inputs) if self.min_scale * smallest >= 1 else {}


class RandomScale(nn.Module):
    """Resizes an image and its mask by one random factor, drawn uniformly; masks by nearest neighbour."""

    def __init__(self, smallest: float, largest: float) -> None:
        super().__init__()
        if not 0 < smallest <= largest:
            raise ValueError(f"scale is a pair of factors above 0, the smaller one first, got {smallest}, {largest}")
        self.smallest, self.largest = smallest, largest

    def forward(self, image: tv_tensors.Image, mask: tv_tensors.Mask) -> tuple[Any, Any]:
        factor = float(torch.empty(()).uniform_(self.smallest, self.largest))
        size = [max(1, round(side * factor)) for side in image.shape[-2:]]
        return resize(image, size, antialias=True), resize(mask, size)
