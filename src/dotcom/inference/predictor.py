"""A trained network that takes any picture: preprocessing, device, batches and results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import center_crop, resize

from dotcom.data.checkpoint import data_of
from dotcom.errors import UsageError
from dotcom.inference.results import Box, Boxes, Classes, Guess, Mask, Result, Share
from dotcom.inference.saved_run import saved_run
from dotcom.models import Classifier, Detector, Segmenter, from_checkpoint

Device = Literal["auto", "cpu", "cuda", "mps"]

TOP = 5
STRIP = 16  # times as long as wide: a classifier would resize the short side first, and the long one to gigabytes
SEGMENTED = 2**20  # pixels: a larger picture is shrunk for the segmenter, whose memory grows with their number


@dataclass(frozen=True)
class Prepared:
    """What a network sees of a picture.

    Attributes:
        image: uint8 (3, h, w), transformed as in the run's own validation.
        size: (H, W) of the upright picture.
    """

    image: Tensor
    size: tuple[int, int]


class Predictor:
    """Pictures in any size -> ``Classes``, ``Boxes`` or ``Mask`` each, as the checkpoint's task is.

    Network, classes and preprocessing come from the file alone, and nothing that it holds is executed. The moving
    average of the weights is taken if the run kept one. What validation makes of an image, this makes of a picture,
    with two exceptions for the sake of memory: a classifier sees the middle of strips more than 16 times as long as
    wide, a segmenter sees pictures above a million pixels shrunk, and its mask is enlarged again.

    Args:
        path: best.ckpt or last.ckpt of a run.
        device: ``"auto"`` is CUDA if there is a GPU, else Apple's GPU, else the CPU; arithmetic is float32 on all.

    Attributes:
        network: A ``Classifier``, ``Detector`` or ``Segmenter`` in evaluation mode, on ``device``.
        classes: Names of the classes, in the order of the network's outputs.
        task: ``"Classification"``, ``"Detection"`` or ``"Segmentation"``.
        config: The run's resolved configuration.
        device: Where the network is.

    Raises:
        UsageError: If the file is no checkpoint of a run of ours, or there is no such device.
    """

    def __init__(self, path: Path, device: Device = "auto") -> None:
        run = saved_run(path)
        self.config, self.classes, self.task = run.config, run.classes, run.task
        data = data_of(run.config, num_workers=0)
        self.transform, self.normalize = data.transforms["val"], data.normalize
        self.device = chosen(device)
        network: Any = from_checkpoint(path)
        layout = torch.channels_last if run.config.get("channels_last") else torch.contiguous_format
        self.network: nn.Module = network.to(self.device, memory_format=layout)

    def __call__(self, pictures: Sequence[Image.Image]) -> list[Result]:
        """Results of upright RGB pictures, as ``read_picture`` gives them, in their order."""
        return self.predict([self.prepare(picture) for picture in pictures])

    def prepare(self, picture: Image.Image) -> Prepared:
        """Transform one picture; threads may do this side by side."""
        image = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        size = picture.height, picture.width
        if isinstance(self.network, Classifier):
            image = center_crop(image, [min(side, STRIP * min(size)) for side in size])
        if isinstance(self.network, Segmenter) and picture.height * picture.width > SEGMENTED:
            factor = (SEGMENTED / (picture.height * picture.width)) ** 0.5
            image = resize(image, [max(1, int(side * factor)) for side in size], antialias=True)
        return Prepared(self.transform(tv_tensors.Image(image)).as_subclass(Tensor), size)

    @torch.inference_mode()
    def predict(self, batch: Sequence[Prepared]) -> list[Result]:
        """Results of prepared pictures, in their order: in one pass, or one by one if their sizes differ."""
        if len({prepared.image.shape for prepared in batch}) > 1:
            return [result for prepared in batch for result in self.predict([prepared])]
        if not batch:
            return []
        images = self.normalize(torch.stack([prepared.image for prepared in batch]).to(self.device))
        sizes = [prepared.size for prepared in batch]
        if isinstance(self.network, Detector):
            found = self.network.detect(self.network(images), images.shape[-2:])
            return [self._boxes(row, size, images.shape[-2:]) for row, size in zip(found, sizes, strict=True)]
        if isinstance(self.network, Segmenter):
            masks = self.network.segment(images).argmax(dim=1).to(torch.uint8).cpu().numpy()
            return [self._mask(mask, size) for mask, size in zip(masks, sizes, strict=True)]
        return [self._top(row) for row in self.network(images).softmax(dim=1).cpu()]

    def _top(self, probabilities: Tensor) -> Classes:
        best = probabilities.topk(min(TOP, len(probabilities)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return Classes(tuple(Guess(label, self.classes[label], probability) for label, probability in pairs))

    def _boxes(self, found: dict[str, Tensor], size: tuple[int, int], seen: torch.Size) -> Boxes:
        height, width = (original / side for original, side in zip(size, seen, strict=True))
        corners = (found["boxes"].cpu() * torch.tensor([width, height, width, height])).tolist()
        rows = zip(found["labels"].tolist(), found["scores"].tolist(), corners, strict=True)
        return Boxes(tuple(Box(label, self.classes[label], score, tuple(xyxy)) for label, score, xyxy in rows))

    def _mask(self, mask: np.ndarray, size: tuple[int, int]) -> Mask:
        if mask.shape != size:
            mask = np.asarray(Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST))
        counts = np.bincount(mask.ravel(), minlength=len(self.classes))
        labels = [int(label) for label in np.argsort(-counts, kind="stable") if counts[label]]
        return Mask(mask, tuple(Share(label, self.classes[label], int(counts[label]) / mask.size) for label in labels))


def chosen(device: Device) -> torch.device:
    """A device that is there.

    Raises:
        UsageError: If there is none of the kind that was asked for.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device not in get_args(Device):
        raise UsageError(f"device={device}: expected {' | '.join(get_args(Device))}")
    if device != "auto" and not there[device]:
        raise UsageError(f"device={device}: there is none that torch can use; expected auto or cpu")
    return torch.device(next(name for name in there if there[name]) if device == "auto" else device)
