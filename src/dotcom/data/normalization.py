"""Images as a network wants them: float32, normalised."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import v2


class Normalization:
    """Images (..., 3, H, W), uint8 in [0, 255] or float32 in [0, 1], to float32 less ``mean`` over ``std``.

    Note: torchvision's transform makes tensors of both anew for each batch, and a GPU has to finish its work before
        they are copied to it. Here they are copied once.

    Args:
        mean: Per channel, for images in [0, 1].
        std: Per channel, for images in [0, 1]; above 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        self.to_float = v2.ToDtype(torch.float32, scale=True)
        self.mean, self.std = (torch.tensor([float(value) for value in values]) for values in (mean, std))

    def __call__(self, images: Tensor) -> Any:
        if self.mean.device != images.device:
            self.mean, self.std = self.mean.to(images.device), self.std.to(images.device)
        return v2.functional.normalize(self.to_float(images), self.mean, self.std)
