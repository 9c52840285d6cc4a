"""Outputs of a detector of 90 classes at 320 pixels, and what torchvision's SSD makes of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from dotcom.models import Detector, DoTCoM
from dotcom.models.dotcom import VARIANTS

SIDE, CLASSES, IMAGES = 320, 90, 4
REGIMES = {"flat": (0.5, 0.0), "usual": (1.5, 3.0), "sure": (3.0, 6.0)}  # spread of logits, lead of the background

Found = list[dict[str, Tensor]]


def detector() -> Detector:
    """SSDLite on the smallest size; only its anchors and arithmetic matter here."""
    return Detector(DoTCoM(VARIANTS["tiny"]), CLASSES).eval()


def outputs(network: Detector, regime: str) -> dict[str, Tensor]:
    """What the network might say of a batch, in a regime of scores."""
    rng = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        anchors = network(torch.zeros(1, 3, SIDE, SIDE))["anchors"].clone()
    spread, lead = REGIMES[regime]
    logits = spread * torch.randn(IMAGES, len(anchors), CLASSES + 1, generator=rng)
    logits[..., 0] += lead
    return {
        "bbox_regression": torch.randn(IMAGES, len(anchors), 4, generator=rng),
        "cls_logits": logits,
        "anchors": anchors,
    }


def candidates(network: Detector, content: dict[str, Tensor]) -> int:
    """Scores per image that count, at most so many of each class as are looked at."""
    scores = content["cls_logits"].softmax(dim=-1)[..., 1:]
    counts = (scores > network.score_thresh).sum(dim=1).clamp(max=network.topk_candidates)
    return int(counts.sum()) // IMAGES


def ours(network: Detector, content: dict[str, Tensor]) -> Callable[[], Found]:
    """Our detections of outputs."""
    return lambda: network.detect(content, (SIDE, SIDE))


def torchvisions(network: Detector, content: dict[str, Tensor]) -> Callable[[], Found]:
    """Those of torchvision's loop, whose labels count the background as 0."""

    @torch.no_grad()
    def run() -> Found:
        sizes: Sequence[tuple[int, int]] = [(SIDE, SIDE)] * IMAGES
        found: Found = network.postprocess_detections(content, [content["anchors"]] * IMAGES, sizes)
        return [each | {"labels": each["labels"] - 1} for each in found]

    return run


def different(one: Found, other: Found) -> int:
    """How many tensors are not equal number by number."""
    return sum(not torch.equal(a[key], b[key]) for a, b in zip(one, other, strict=True) for key in a)
