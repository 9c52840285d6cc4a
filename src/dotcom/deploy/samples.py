"""Real validation images of a checkpoint's own data, each as the one tensor that an exported file takes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2.functional import InterpolationMode, resize

from dotcom.data.checkpoint import data_of
from dotcom.data.transforms import IGNORED
from dotcom.deploy.formats import Array
from dotcom.errors import UsageError, listed
from dotcom.inference.class_mapping import match_classes
from dotcom.text import make_console

Item = TypeVar("Item")


@dataclass(frozen=True)
class Sample:
    """An image and what is true of it.

    Attributes:
        image: float32 (1, 3, N, N), normalised.
        target: A label, int; the boxes of ``dotcom.data.boxes``, dict; or a class mask, uint8 (N, N), 255 without.
    """

    image: Array
    target: Any


def samples(
    config: Mapping[str, Any], task: str, image_size: int, count: int, classes: Sequence[str] | None = None
) -> list[Sample]:
    """The same images for the same arguments, drawn from the whole validation split; fewer if it has no more.

    Args:
        config: ``data`` of a configuration, as plain values.
        task: ``"Classification"``, ``"Detection"`` or ``"Segmentation"``.
        image_size: N.
        count: How many; those that cannot be read are replaced by others.
        classes: Names of the network's classes, which the data have to have in the same order; None if only its
            outputs are compared.

    Raises:
        UsageError: If not one could be read, or the classes are others.
    """
    data = data_of({"data": sized(config, image_size)})
    data.setup("validate")
    dataset = data.datasets["val"]
    if classes is not None and match_classes(classes, data.classes) != list(range(len(classes))):
        raise UsageError(
            f"data: the classes are {listed(data.classes)}, those of the checkpoint {listed(classes)}; expected equal "
            f"classes in the same order, to compare an exported file with the truth"
        )
    order = np.random.default_rng(0).permutation(len(dataset)).tolist()  # folders are sorted by class
    found: list[Sample] = []
    for index in watched(order[:count], "reading images"):
        pair = dataset[index]
        while pair is None and len(order) > count:
            pair = dataset[order.pop()]
        if pair is not None:
            image, target = boxed(pair[0], pair[1], image_size) if task == "Segmentation" else pair
            pixels = filled(data.normalize(image), image_size).numpy()[None]
            found.append(Sample(np.ascontiguousarray(pixels), target))
    if not found:
        raise UsageError("data: not one validation image could be read, and the files have to be checked on some")
    return found


def sized(config: Mapping[str, Any], image_size: int) -> dict[str, Any]:
    """The data with validation images of another size; a crop keeps its share of the resized image."""
    transform = dict(config["val_transform"])
    if "resize" in transform:
        transform["resize"] = round(transform["resize"] * image_size / transform["image_size"])
    if "image_size" in transform:
        transform["image_size"] = image_size
    return {**config, "num_workers": 0, "val_transform": transform}


def boxed(image: Tensor, mask: Tensor, image_size: int) -> tuple[Tensor, Array]:
    """An image of any size and its mask so that the longer side is N; the mask filled up to N x N."""
    height, width = image.shape[-2:]
    size = [max(1, round(side * image_size / max(height, width))) for side in (height, width)]
    small = resize(mask[None], size, InterpolationMode.NEAREST)[0]
    return resize(image, size, antialias=True), filled(small, image_size, IGNORED).numpy()


def filled(image: Tensor, image_size: int, value: int = 0) -> Tensor:
    """An image (..., h, w), filled at the right and at the bottom; 0 is the mean colour of a normalised image."""
    height, width = image.shape[-2:]
    return F.pad(image, (0, image_size - width, 0, image_size - height), value=value).as_subclass(torch.Tensor)


def watched(items: Sequence[Item], what: str) -> Iterable[Item]:
    """The items, with a progress bar on a terminal's stderr."""
    console = make_console(stderr=True)
    return track(items, what, transient=True, console=console, disable=not console.is_terminal)
