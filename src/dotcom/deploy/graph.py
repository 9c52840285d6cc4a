"""What leaves for a runtime: a network that takes one image of one size and returns named tensors."""

import copy

import torch
from torch import Tensor, nn

from dotcom.models.classifier import Classifier
from dotcom.models.detector import Detector
from dotcom.models.segmenter import Segmenter


class Graph(nn.Module):
    """Images (1, 3, N, N), normalised, float32 -> a tuple of tensors, named by ``outputs``; every shape is fixed.

    Classifier: ``logits`` (1, K). Segmenter: ``logits`` (1, K, N, N). Detector: ``boxes`` (1, A, 4) as x1 y1 x2 y2 in
    pixels within the image, and ``scores`` (1, A, K) in [0, 1], without the background.

    Attributes:
        outputs: Names of what ``forward`` returns.
        image_size: N.
    """

    outputs: tuple[str, ...] = ("logits",)

    def __init__(self, network: nn.Module, image_size: int) -> None:
        super().__init__()
        self.network = network
        self.image_size = image_size

    @property
    def example(self) -> Tensor:
        """An input to trace with."""
        return torch.zeros(1, 3, self.image_size, self.image_size)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.network(images),)


class DetectionGraph(Graph):
    """The network, and the arithmetic from offsets and logits to boxes and scores."""

    outputs = ("boxes", "scores")
    centres: Tensor
    sizes: Tensor
    scale: Tensor

    def __init__(self, network: Detector, image_size: int) -> None:
        super().__init__(network, image_size)
        with torch.no_grad():
            anchors = network(self.example)["anchors"]
        self.register_buffer("centres", (anchors[:, :2] + anchors[:, 2:]) / 2)
        self.register_buffer("sizes", anchors[:, 2:] - anchors[:, :2])
        self.register_buffer("scale", torch.tensor(network.box_coder.weights))
        self.largest = network.box_coder.bbox_xform_clip
        self.focal = network.loss == "focal"

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        outputs = self.network(images)
        offsets, logits = outputs["bbox_regression"] / self.scale, outputs["cls_logits"]
        centres = self.centres + offsets[..., :2] * self.sizes
        halves = self.sizes * offsets[..., 2:].clamp(max=self.largest).exp() / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=-1).clamp(0, self.image_size)
        scores = logits.sigmoid() if self.focal else logits.softmax(dim=-1)
        return boxes, scores[..., 1:]


def deployed(network: nn.Module, image_size: int, runtime: str | None = None) -> Graph:
    """A copy of a trained network as published, in evaluation mode, wrapped for export."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    if isinstance(network, Detector):
        return DetectionGraph(network, image_size)
    if isinstance(network, Classifier | Segmenter):
        return Graph(network, image_size)
    raise ValueError(f"expected a Classifier, Detector or Segmenter, got {type(network).__name__}")
