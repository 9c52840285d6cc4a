"""7,000 real product photos that come with the package: a balanced part of Fashion-MNIST.

Source: Fashion-MNIST (arXiv:1708.07747), Zalando SE, MIT licence; embedded/make_fashion.py made the file.
"""

from collections.abc import Callable
from importlib.resources import files

import numpy as np
from torch import Tensor

from dotcom.data.arrays import ArrayDataset
from dotcom.data.module import Split

CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)


def fashion(split: Split, transform: Callable[[Tensor], Tensor]) -> ArrayDataset:
    """6,000 train or 1,000 val photos, 28x28 grey repeated to 3 channels, 10 classes of equal size.

    The val photos come from the published test split, so nothing of the published training split is in them.
    """
    with (files("dotcom.data.embedded") / "fashion.npz").open("rb") as file, np.load(file) as arrays:
        return ArrayDataset(arrays[f"{split}_images"], arrays[f"{split}_labels"], CLASSES, transform)
