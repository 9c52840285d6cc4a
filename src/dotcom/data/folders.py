"""Photos in one folder per class."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torchvision import datasets

from dotcom.annotations.folders import split_name
from dotcom.data.files import ImageFiles
from dotcom.data.module import Split
from dotcom.layout import labelled_files


class ImageFolder(ImageFiles):
    """Samples (image, label), or None for a file that cannot be decoded.

    Args:
        root: ``data.root``; it has a folder of each split, and that one folder per class, whose sorted names are the
            classes.
        split: Train or val.
        transform: Applied to each uint8 image (3, H, W).
    """

    def __init__(self, root: str | Path, split: Split, transform: Callable[[Tensor], Tensor]) -> None:
        paths, labels, classes = labelled_files(root, split)
        super().__init__(paths, classes)
        self.labels = labels
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, int] | None:
        image = self.read(index)
        return None if image is None else (self.transform(image), self.labels[index])


def image_folder(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ImageFolder:
    """The user's own photos: ``root/train/<class>/*`` and ``root/val/<class>/*``."""
    return ImageFolder(root, split, transform)


def imagenet(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ImageFolder:
    """ImageNet-1k (ILSVRC2012) as class folders; the published archives in ``root`` are unpacked on first use."""
    folder = Path(root).expanduser()
    if not (folder / split_name(folder, split)).is_dir():
        datasets.ImageNet(root, split=split)
    return ImageFolder(root, split, transform)
