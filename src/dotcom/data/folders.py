"""Photos in one folder per class, decoded by torchvision.io; an unreadable file is skipped by name, not fatal."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import datasets

from dotcom.data.module import Split
from dotcom.data.preflight import read_image, reason
from dotcom.layout import EXTENSIONS


class ImageFolder(Dataset[tuple[Tensor, int] | None]):
    """Samples (image, label), or None for a file that cannot be decoded.

    Args:
        root: One folder per class inside; their sorted names are the classes.
        transform: Applied to each uint8 image (3, H, W).

    Attributes:
        classes: Class names.
        paths: Image files, in the order of the samples.
        unreadable: One flag per file, shared between loader processes.
    """

    def __init__(self, root: Path, transform: Callable[[Tensor], Tensor]) -> None:
        found = datasets.ImageFolder(str(root), is_valid_file=lambda path: path.lower().endswith(EXTENSIONS))
        self.classes = found.classes
        self.paths = [Path(path) for path, _ in found.samples]
        self.labels = [label for _, label in found.samples]
        self.transform = transform
        flags: Any = torch.zeros(len(self.paths), dtype=torch.bool)
        self.unreadable: Tensor = flags.share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def skipped(self) -> list[Path]:
        """Files that were asked for and could not be decoded."""
        return [self.paths[index] for index in self.unreadable.nonzero().flatten().tolist()]

    def __getitem__(self, index: int) -> tuple[Tensor, int] | None:
        try:
            image = read_image(self.paths[index])
        except (RuntimeError, OSError) as error:
            if not self.unreadable[index]:
                warnings.warn(f"skipped unreadable image {self.paths[index]}: {reason(error)}", stacklevel=2)
            self.unreadable[index] = True
            return None
        return self.transform(image), self.labels[index]


def image_folder(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ImageFolder:
    """The user's own photos: ``root/train/<class>/*`` and ``root/val/<class>/*``."""
    return ImageFolder(Path(root) / split, transform)


def imagenet(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ImageFolder:
    """ImageNet-1k (ILSVRC2012) as class folders; the published archives in ``root`` are unpacked on first use."""
    if not (Path(root) / split).is_dir():
        datasets.ImageNet(root, split=split)
    return ImageFolder(Path(root) / split, transform)
