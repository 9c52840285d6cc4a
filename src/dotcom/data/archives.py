"""Published small sets that torchvision downloads on first use, or finds under ``root``."""

from collections.abc import Callable
from urllib.error import URLError

import numpy as np
from torch import Tensor
from torchvision import datasets

from dotcom.data.arrays import ArrayDataset
from dotcom.data.module import Split


def fashion_mnist(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ArrayDataset:
    """60,000 train or 10,000 val photos, 28x28 grey repeated to 3 channels, 10 classes."""
    return _in_memory(datasets.FashionMNIST, split, root, transform)


def cifar10(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ArrayDataset:
    """50,000 train or 10,000 val photos, 32x32 colour, 10 classes (Krizhevsky 2009)."""
    return _in_memory(datasets.CIFAR10, split, root, transform)


def cifar100(split: Split, root: str, transform: Callable[[Tensor], Tensor]) -> ArrayDataset:
    """50,000 train or 10,000 val photos, 32x32 colour, 100 classes (Krizhevsky 2009)."""
    return _in_memory(datasets.CIFAR100, split, root, transform)


def _in_memory(
    published: type[datasets.FashionMNIST | datasets.CIFAR10],
    split: Split,
    root: str,
    transform: Callable[[Tensor], Tensor],
) -> ArrayDataset:
    try:
        archive = published(root, train=split == "train", download=True)
    except (URLError, OSError, RuntimeError) as error:
        raise FileNotFoundError(
            f"data.root={root} holds no {published.__name__}, and it could not be downloaded ({error}); "
            f"expected what torchvision.datasets.{published.__name__}(root) reads"
        ) from error
    return ArrayDataset(np.asarray(archive.data), archive.targets, archive.classes, transform)
