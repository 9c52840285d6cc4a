"""A trained network that others learn from: a run of ours, or one that timm has weights of."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.models.checkpoint import from_checkpoint
from dotcom.models.classifier import Classifier
from dotcom.models.timm import create_classifier
from dotcom.plain_pickle import read_plain


class Teacher(nn.Module):
    """Images (B, 3, H, W), normalised with ``mean`` and ``std`` -> logits (B, K), in evaluation mode.

    Args:
        network: Images to logits.
        mean: Per channel, of images in [0, 1], that it was trained with.
        std: Likewise.
        classes: Names of its classes; empty if unknown.
        size: (H, W) of a network made for one size, to which images are resized; None for any.
    """

    def __init__(
        self,
        network: nn.Module,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        classes: Sequence[str] = (),
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.mean, self.std, self.classes, self.size = tuple(mean), tuple(std), list(classes), size

    def forward(self, images: Tensor) -> Tensor:
        if self.size is not None and tuple(images.shape[-2:]) != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        logits: Tensor = self.network(images)
        return logits


def read_teacher(source: str | None, num_classes: int) -> Teacher | None:
    """The teacher that ``source`` names; None if it is None.

    Args:
        source: A checkpoint of ours, ``RUN/best.ckpt`` (nothing in it is executed), or the name of a network
            that timm has weights of, which are downloaded or taken from its cache.
        num_classes: How many classes it has to know.

    Raises:
        ValueError: If there is no such file or network, its weights cannot be had, or it knows other classes.
    """
    if source is None:
        return None
    network = _of_run(source) if is_file(source) else _of_timm(source)
    found = network(torch.zeros(1, 3, *(network.size or (64, 64)))).shape[1]
    if found != num_classes:
        own = "; train one on these data with model=timm and name=, then teacher=RUN/best.ckpt"
        raise ValueError(f"teacher={source}: it knows {found} classes, the data have {num_classes}{own}")
    return network


def is_file(source: str) -> bool:
    """Whether a teacher is a checkpoint, not the name of a network."""
    return source.endswith(".ckpt") or "/" in source


def _of_run(path: str) -> Teacher:
    network = from_checkpoint(Path(path).expanduser())
    if not isinstance(network, Classifier):
        raise ValueError(f"teacher={path}: expected a classifier, got a {type(network).__name__}")
    saved = read_plain("teacher", str(Path(path).expanduser()))
    data: dict[str, Any] = saved["config"]["data"]
    mean, std = data.get("mean") or IMAGENET_MEAN, data.get("std") or IMAGENET_STD
    return Teacher(network, mean, std, saved.get("classes", ()), getattr(network.backbone, "fixed_size", None))


def _of_timm(name: str) -> Teacher:
    try:
        network, published = create_classifier(name)
    except ValueError as error:
        raise ValueError(f"teacher={name}: {str(error).partition(': ')[2]}") from error
    size = tuple(published.input_size[1:]) if published.fixed_input_size else None
    return Teacher(network, published.mean, published.std, size=size)
