"""What happens to one image, as uint8 (3, H, W) from first to last; normalisation waits for the batch."""

from typing import Literal

import torch
from torchvision.transforms import v2

AutoAugment = Literal["rand", "trivial"]

AUTO_AUGMENT: dict[AutoAugment, type[v2.Transform]] = {"rand": v2.RandAugment, "trivial": v2.TrivialAugmentWide}


def crop_and_flip(
    image_size: int,
    min_scale: float = 0.08,
    auto_augment: AutoAugment | None = None,
    random_erasing: float = 0.0,
) -> v2.Compose:
    """Random resized crop and horizontal flip, then optionally RandAugment or TrivialAugment, and erasing.

    Source: the original's training transform is the crop (scale 0.08 to 1) and the flip alone.

    Args:
        image_size: Side of the square result, in pixels.
        min_scale: Smallest area of a crop, as a fraction of the image.
        auto_augment: ``"rand"`` (arXiv:1909.13719) or ``"trivial"`` (arXiv:2103.10158).
        random_erasing: Probability in [0, 1] of blacking out a rectangle (arXiv:1708.04896).
    """
    if auto_augment is not None and auto_augment not in AUTO_AUGMENT:
        raise ValueError(f"auto_augment must be one of {tuple(AUTO_AUGMENT)} or null, got {auto_augment!r}")
    steps: list[torch.nn.Module] = [
        v2.RandomResizedCrop(image_size, scale=(min_scale, 1.0), antialias=True),
        v2.RandomHorizontalFlip(),
    ]
    if auto_augment:
        steps.append(AUTO_AUGMENT[auto_augment]())
    if random_erasing:
        steps.append(v2.RandomErasing(random_erasing))
    return v2.Compose(steps)


def resize_and_crop(image_size: int, resize: int) -> v2.Compose:
    """Resize the shorter side to ``resize`` pixels and cut ``image_size`` x ``image_size`` from the centre.

    Source: the original's validation transform, with 288 and 256.
    """
    steps: list[torch.nn.Module] = [v2.Resize(resize, antialias=True), v2.CenterCrop(image_size)]
    return v2.Compose(steps)
