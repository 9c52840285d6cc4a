"""What leaves for a runtime: a network that takes one image of one size and returns named tensors."""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from dotcom.deploy.aspp import pool_once
from dotcom.deploy.fuse import fuse
from dotcom.deploy.tokens import group_by_group, heads_in_batch, standardise
from dotcom.models.blocks import ResidualBlock
from dotcom.models.classifier import Classifier
from dotcom.models.detector import Detector
from dotcom.models.dot import FeedForward
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


class ClassificationGraph(Graph):
    """The mean keeps its axes, as runtimes that know only global pooling want it."""

    network: Classifier

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        last = self.network.backbone(images)[-1]
        return (self.network.head(last.mean(dim=(2, 3), keepdim=True).flatten(1)),)


class DetectionGraph(Graph):
    """Maps and heads without the anchors, which are constants, and the arithmetic from offsets to boxes."""

    outputs = ("boxes", "scores")
    network: Detector
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
        maps = list(self.network.backbone(images)[-2:])
        for block in self.network.extra:
            maps.append(block(maps[-1]))
        offsets = per_anchor(self.network.head.regression_head, maps) / self.scale
        logits = per_anchor(self.network.head.classification_head, maps)
        centres = self.centres + offsets[..., :2] * self.sizes
        halves = self.sizes * offsets[..., 2:].clamp(max=self.largest).exp() / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=-1).clamp(0, self.image_size)
        scores = logits.sigmoid() if self.focal else logits.softmax(dim=-1)
        return boxes, scores[..., 1:]


def per_anchor(head: Any, maps: list[Tensor]) -> Tensor:
    """Columns (1, A, K) of an SSD head for all maps; torchvision makes them with five axes, which four can do."""
    columns = [layer(features) for layer, features in zip(head.module_list, maps, strict=True)]
    return torch.cat([column.permute(0, 2, 3, 1).reshape(1, -1, head.num_columns) for column in columns], dim=1)


GRAPHS: dict[type[nn.Module], type[Any]] = {Classifier: ClassificationGraph, Detector: DetectionGraph, Segmenter: Graph}


def deployed(network: nn.Module, image_size: int, runtime: str | None = None) -> Graph:
    """The same function as ``network``, in evaluation mode and in a form that runtimes like, for one image size.

    Everything is fused; a segmenter pools its image once. What else pays was measured, and differs:

    * ``executorch`` delegates all of the network to XNNPACK if no attention asks for broadcasting and LayerNorm is
      spelled as products of matrices.
    * ``torch`` is at its best in channels_last, with activations in place and attention that stays in the cache.
    * All others, and None: attention between three axes, LayerNorm as it is.

    Args:
        network: Classifier, Detector or Segmenter; not changed.
        image_size: Side of the images in pixels, a multiple of 32.
        runtime: Name of a format of ``dotcom.deploy.formats``.

    Raises:
        ValueError: If ``network`` is something else.
    """
    graph = next((graph for kind, graph in GRAPHS.items() if isinstance(network, kind)), None)
    if graph is None:
        raise ValueError(f"expected a Classifier, Detector or Segmenter, got {type(network).__name__}")
    network = fuse(network)
    if isinstance(network, Segmenter):
        pool_once(network)
    if runtime == "torch":
        network = in_place(network.to(memory_format=torch.channels_last))
        group_by_group(network)
    else:
        heads_in_batch(network)
    if runtime == "executorch":
        standardise(network)
    made: Graph = graph(network, image_size)
    return made.eval()


def in_place(network: nn.Module) -> nn.Module:
    """Let activations write over what they read, so that no memory has to be found for the same numbers again.

    Only those that alone read the output of a convolution, a linear layer or a sum: our own, and torchvision's.

    Args:
        network: Fused; changed, and returned.
    """
    for module in network.modules():
        if isinstance(module, Conv2dNormActivation | FeedForward | ResidualBlock):
            for child in module.children():
                if isinstance(child, nn.SiLU | nn.ReLU | nn.ReLU6):
                    child.inplace = True
    return network
