"""Semantic segmentation: DeepLabV3 on one map of a backbone, assembled from torchvision's parts."""

from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead

from dotcom.models.blocks import conv
from dotcom.models.dotcom import Backbone
from dotcom.models.init import init_weights
from dotcom.models.staged import MULTIPLE
from dotcom.models.weights import load_weights

SegmentationHead = Literal["deeplabv3", "mobilevit"]

RATES = (6, 12, 18)
WIDTH = 256
DENSE_FROM = 1024  # channels; the README's 6.4 M for Base and 18.1 M for Large follow from this and nothing else


class Segmenter(nn.Module):
    """Images (B, 3, H, W), normalised -> logits (B, num_classes, H, W).

    With ``auxiliary``, training returns the pair (logits, auxiliary logits) instead, both at input size.

    Source: DeepLabV3 (arXiv:1706.05587), rates 6, 12, 18 at output stride 16; where the head stands and which of them
        is separable follows from the parameter counts of the DoTCoM README.

    Args:
        backbone: Its last map is read.
        num_classes: Width of the logits; a background class counts.
        head: ``"deeplabv3"`` reads the last stage at output stride 16, ``"mobilevit"`` the stride-16 map, and drops
            the last stage; MobileViT (arXiv:2110.02178, Section 4.2) drops only its last expansion.
        separable: Depthwise and pointwise instead of dense atrous convolutions. Default: for ``"deeplabv3"`` on
            fewer than 1024 channels.
        auxiliary: Add a head on the map before the last, for a second loss (arXiv:1612.01105, Section 3.3).
        weights: A checkpoint to start from, also of a classifier; see ``load_weights``.

    Raises:
        ValueError: If the backbone has no map at stride 16, or none that ``auxiliary`` could read, or is made for
            images of one size.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        head: SegmentationHead = "deeplabv3",
        separable: bool | None = None,
        auxiliary: bool = False,
        weights: str | None = None,
    ) -> None:
        if head not in get_args(SegmentationHead):
            raise ValueError(f"head must be one of {get_args(SegmentationHead)}, got {head!r}")
        if 16 not in backbone.strides:
            raise ValueError(f"a segmenter reads a map at stride 16, the backbone has {backbone.strides}")
        if fixed := getattr(backbone, "fixed_size", None):
            raise ValueError(f"the backbone takes {fixed[0]}x{fixed[1]} images only; a segmenter meets any size")
        super().__init__()
        stride_16 = backbone.strides.index(16)
        self.backbone = backbone.dilate() if head == "deeplabv3" else backbone.keep(stride_16 + 1)
        channels = self.backbone.channels
        if auxiliary and len(channels) < 2:
            strides = self.backbone.strides
            raise ValueError(f"auxiliary reads the map before the last, {head} has only {strides}; use head=deeplabv3")
        light = head == "deeplabv3" and channels[-1] < DENSE_FROM
        self.aspp = aspp(channels[-1], light if separable is None else separable)
        self.classifier = nn.Conv2d(WIDTH, num_classes, 1)
        self.auxiliary = FCNHead(channels[-2], num_classes) if auxiliary else None
        init_weights(self.aspp, "aspp")
        init_weights(self.classifier, "classifier", std=0.01)
        if self.auxiliary is not None:
            init_weights(self.auxiliary, "auxiliary", std=0.01)
        if weights:
            load_weights(self, weights)

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        maps = self.backbone(images)
        logits = _resized(self.classifier(self.aspp(maps[-1])), images)
        if self.auxiliary is not None and self.training:
            return logits, _resized(self.auxiliary(maps[-2]), images)
        return logits

    def segment(self, images: Tensor) -> Tensor:
        """Logits (B, num_classes, H, W) of images of any size: zeros (the mean colour) fill up to multiples of 32."""
        height, width = images.shape[-2:]
        logits = self(F.pad(images, (0, -width % MULTIPLE, 0, -height % MULTIPLE)))
        return logits[..., :height, :width]


def aspp(in_channels: int, separable: bool) -> ASPP:
    """Atrous spatial pyramid pooling: (B, C, H, W) -> (B, 256, H, W)."""
    pooling = ASPP(in_channels, RATES, WIDTH)
    if separable:
        for index, rate in enumerate(RATES, start=1):
            pooling.convs[index] = nn.Sequential(
                conv(in_channels, in_channels, 3, dilation=rate, groups=in_channels, activation_layer=nn.ReLU),
                conv(in_channels, WIDTH, 1, activation_layer=nn.ReLU),
            )
    return pooling


def _resized(logits: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(logits.float(), size=images.shape[-2:], mode="bilinear", align_corners=False)
