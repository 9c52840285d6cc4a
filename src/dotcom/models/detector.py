"""Object detection: SSDLite on two maps of a backbone and smaller ones, assembled from torchvision's parts.

Shapes: B images, A anchors, K classes, N objects of one image.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import box_iou, clip_boxes_to_image, sigmoid_focal_loss

from dotcom.models.blocks import conv
from dotcom.models.dotcom import Backbone
from dotcom.models.init import init_weights
from dotcom.models.suppression import suppressed
from dotcom.models.weights import load_weights

DetectionLoss = Literal["hard_negative", "focal"]

STRIDES = (16, 32)  # of the backbone's maps that are read
EXTRA_CHANNELS = (512, 256, 256, 128)  # MobileNetV2 (arXiv:1801.04381), Section 6.2


class Detector(SSD):  # type: ignore[misc]
    """Images (B, 3, H, W), normalised -> head outputs, from which ``losses`` and ``detect`` go on.

    Source: SSDLite, MobileNetV2 (arXiv:1801.04381), Section 6.2; on MobileViT (arXiv:2110.02178), Section 4.2.
    Note: unlike torchvision's SSD, ``forward`` is the network alone, in both modes, so that validation has a loss,
        and what is exported has fixed shapes. Class 0 of the logits is the background; everywhere else, classes
        count from 0 without it.

    Args:
        backbone: Its maps at strides 16 and 32 are read; later ones are dropped.
        num_classes: K, without the background.
        loss: Of the classes: ``"hard_negative"``, cross-entropy on the objects and the three times as many worst
            negatives (arXiv:1512.02325), those of images without objects included; or
            ``"focal"`` (arXiv:1708.02002), on all anchors.
        anchor_scales: Side of a square anchor on the largest and on the smallest map, as fractions of the image.
            A small image has few cells on the later maps: give it large anchors on the first.
        extra_channels: Width of each map beyond stride 32, every one half as large as the one before. A small image
            needs fewer: batch norm over maps of one pixel is noise, which it hands down to the backbone.
        weights: A checkpoint to start from, also of a classifier; see ``load_weights``.

    Raises:
        ValueError: If the backbone has no maps at strides 16 and 32, or a width or scale is out of range.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        loss: DetectionLoss = "hard_negative",
        anchor_scales: Sequence[float] = (0.2, 0.95),
        extra_channels: Sequence[int] = EXTRA_CHANNELS,
        weights: str | None = None,
    ) -> None:
        if loss not in get_args(DetectionLoss):
            raise ValueError(f"loss must be one of {get_args(DetectionLoss)}, got {loss!r}")
        if not set(STRIDES) <= set(backbone.strides):
            raise ValueError(f"a detector reads maps at strides {STRIDES}, the backbone has {backbone.strides}")
        if any(width < 2 or width % 2 for width in extra_channels):
            raise ValueError(f"extra_channels must be even numbers above 0, got {list(extra_channels)}")
        backbone = backbone.keep(backbone.strides.index(STRIDES[-1]) + 1)
        widths = [*backbone.channels[-2:], *extra_channels]
        smallest, largest = anchor_scales
        if not 0 < smallest < largest <= 2:  # MobileViT's own are 0.1 and 1.05
            raise ValueError(f"anchor_scales must be two rising numbers above 0, up to 2, got {list(anchor_scales)}")
        anchors = DefaultBoxGenerator([[2, 3]] * len(widths), min_ratio=smallest, max_ratio=largest)
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
        head = SSDLiteHead(widths, anchors.num_anchors_per_location(), num_classes + 1, norm)
        super().__init__(
            backbone,
            anchors,
            size=(1, 1),  # of the resizing that we leave to the data
            num_classes=num_classes + 1,
            head=head,
            score_thresh=0.001,
            nms_thresh=0.55,
            topk_candidates=300,
            detections_per_img=100,  # as many as COCO looks at
        )
        self.extra = nn.ModuleList(map(extra_block, widths[1:], extra_channels))
        self.loss = loss
        init_weights(self.extra, "extra")
        init_weights(self.head, "head", std=0.03)
        if loss == "focal":
            for block in self.head.classification_head.module_list:
                nn.init.constant_(block[-1].bias, -math.log(99))  # each class begins at 1 %: Section 4.1
        if weights:
            load_weights(self, weights)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Returns ``bbox_regression`` (B, A, 4), ``cls_logits`` (B, A, K + 1) and ``anchors`` (A, 4) in pixels."""
        maps = list(self.backbone(images)[-2:])
        for block in self.extra:
            maps.append(block(maps[-1]))
        grids = [torch.empty(feature.shape[-2:], device=images.device) for feature in maps]  # float32 whatever the maps
        anchors = self.anchor_generator(ImageList(images, [images.shape[-2:]]), grids)[0]
        return {**self.head(maps), "anchors": anchors}

    def losses(self, outputs: dict[str, Tensor], targets: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """The two losses, per matched anchor: ``bbox_regression`` and ``classification``.

        Args:
            outputs: What ``forward`` returned.
            targets: Per image ``boxes`` (N, 4) as x1 y1 x2 y2 in pixels, and ``labels`` (N,) in [0, K); N may be 0.
        """
        anchors = outputs["anchors"]
        matched = [self._match(target["boxes"], anchors) for target in targets]
        shifted = [{"boxes": target["boxes"], "labels": target["labels"] + 1} for target in targets]
        outputs = {name: outputs[name].float() for name in ("bbox_regression", "cls_logits")}
        losses: dict[str, Tensor] = self.compute_loss(shifted, outputs, [anchors] * len(targets), matched)
        if self.loss == "focal":
            losses["classification"] = self._focal(outputs["cls_logits"], shifted, matched)
        elif empty := [index for index, target in enumerate(targets) if len(target["boxes"]) == 0]:
            losses["classification"] = losses["classification"] + self._empty(outputs["cls_logits"][empty], matched)
        return losses

    def _match(self, boxes: Tensor, anchors: Tensor) -> Tensor:
        if len(boxes) == 0:
            return torch.full((len(anchors),), -1, device=anchors.device)
        return self.proposal_matcher(box_iou(boxes, anchors))

    def _empty(self, logits: Tensor, matched: list[Tensor]) -> Tensor:
        """Hard negatives of images without objects; torchvision takes three per match, so none of theirs.

        As many as the other images of the batch have on average, three at least.

        Args:
            logits: (E, A, K + 1) of the images without objects alone.
            matched: Per image of the whole batch.
        """
        matches = sum(int((match >= 0).sum()) for match in matched)
        others = len(matched) - len(logits)
        negatives = int(self.neg_to_pos_ratio) * max(1, matches // max(1, others))
        background = -logits.log_softmax(dim=-1)[..., 0]
        return background.topk(min(negatives, background.shape[1]), dim=1).values.sum() / max(1, matches)

    def _focal(self, logits: Tensor, targets: list[dict[str, Tensor]], matched: list[Tensor]) -> Tensor:
        wanted = torch.zeros_like(logits)
        for one_hot, target, match in zip(wanted, targets, matched, strict=True):
            objects = (match >= 0).nonzero().flatten()
            one_hot[objects, target["labels"][match[objects]]] = 1.0
        return sigmoid_focal_loss(logits, wanted, reduction="sum") / wanted.sum().clamp(min=1)

    @torch.no_grad()
    def detect(self, outputs: dict[str, Tensor], size: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Boxes worth reporting, the best first, at most 100 per image.

        Args:
            outputs: What ``forward`` returned.
            size: (H, W) of its images.

        Returns:
            Per image ``boxes`` (M, 4) as x1 y1 x2 y2 in pixels, ``scores`` (M,) in [0, 1], ``labels`` (M,) in [0, K).
        """
        logits = outputs["cls_logits"].float()
        scores = (logits.sigmoid() if self.loss == "focal" else logits.softmax(dim=-1))[..., 1:]
        rows = zip(outputs["bbox_regression"].float(), scores, strict=True)
        return [self._best(offsets, score, outputs["anchors"], size) for offsets, score in rows]

    def _best(self, offsets: Tensor, scores: Tensor, anchors: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        boxes = clip_boxes_to_image(self.box_coder.decode_single(offsets, anchors), size)
        found = suppressed(
            boxes, scores, self.score_thresh, self.nms_thresh, self.topk_candidates, self.detections_per_img
        )
        return dict(zip(("boxes", "scores", "labels"), found, strict=True))


def extra_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Halves a map: 1x1 to half the width, 3x3 depthwise with stride 2, 1x1 to the full width."""
    hidden = out_channels // 2
    return nn.Sequential(
        conv(in_channels, hidden, 1),
        conv(hidden, hidden, 3, 2, groups=hidden),
        conv(hidden, out_channels, 1),
    )
