"""Small images that fit in memory."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset


class ArrayDataset(Dataset[tuple[Tensor, int]]):
    """Samples (image, label): what ``transform`` makes of a uint8 image (3, H, W), and a class index.

    Args:
        images: uint8, (N, H, W) grey or (N, H, W, 3) colour.
        labels: N class indices.
        classes: Class names.
        transform: Applied to each image.
    """

    def __init__(
        self, images: np.ndarray, labels: Sequence[int], classes: Sequence[str], transform: Callable[[Tensor], Tensor]
    ) -> None:
        pixels = torch.from_numpy(images)
        self.images = pixels[:, None] if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
        self.labels = [int(label) for label in labels]
        self.classes = list(classes)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index].expand(3, -1, -1)), self.labels[index]
