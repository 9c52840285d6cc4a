"""Photos in one folder per class."""

from collections.abc import Callable
from pathlib import Path

from torch import Tensor
from torchvision import datasets

from dotcom.data.files import ImageFiles
from dotcom.data.module import Split
from dotcom.layout import EXTENSIONS


class ImageFolder(ImageFiles):
    """Samples (image, label), or None for a file that cannot be decoded.

    Args:
        root: One folder per class inside; their sorted names are the classes.
        transform: Applied to each uint8 image (3, H, W).
    """

    def __init__(self, root: Path, transform: Callable[[Tensor], Tensor]) -> None:
        found = datasets.ImageFolder(str(root), is_valid_file=lambda path: path.lower().endswith(EXTENSIONS))
        super().__init__([Path(path) for path, _ in found.samples], found.classes)
        self.labels = [label for _, label in found.samples]
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[Tensor, int] | None:
        image = self.read(index)
        return None if image is None else (self.transform(image), self.labels[index])


def image_folder(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ImageFolder:
    """The user's own photos: ``root/train/<class>/*`` and ``root/val/<class>/*``."""
    return ImageFolder(Path(root) / split, transform)


def imagenet(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ImageFolder:
    """ImageNet-1k (ILSVRC2012) as class folders; the published archives in ``root`` are unpacked on first use."""
    if not (Path(root) / split).is_dir():
        datasets.ImageNet(root, split=split)
    return ImageFolder(Path(root) / split, transform)
