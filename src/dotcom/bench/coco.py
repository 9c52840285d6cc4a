"""Made detections for COCO's metric, and the metric by several libraries."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from dotcom.tasks.detection import RECALLS

CLASSES, DETECTIONS = 80, 100

Boxes = dict[str, Tensor]
Backend = Literal["pycocotools", "faster_coco_eval"]


def made(images: int) -> tuple[list[Boxes], list[Boxes]]:
    """Detections and truths: some detections are near an object of their class, the rest anywhere."""
    rng = torch.Generator().manual_seed(0)
    detections, truths = [], []
    for _ in range(images):
        count = int(torch.randint(0, 15, (), generator=rng))
        objects = boxes(count, rng)
        labels = torch.randint(CLASSES, (count,), generator=rng)
        near = objects + 6 * torch.randn(count, 4, generator=rng)
        rest = DETECTIONS - count
        detections.append(
            {
                "boxes": torch.cat([near, boxes(rest, rng)]),
                "labels": torch.cat([labels, torch.randint(CLASSES, (rest,), generator=rng)]),
                "scores": torch.rand(DETECTIONS, generator=rng),
            }
        )
        truths.append({"boxes": objects, "labels": labels})
    return detections, truths


def boxes(count: int, rng: torch.Generator) -> Tensor:
    """Boxes x1 y1 x2 y2 in an image of 640 x 480 pixels."""
    corner = torch.rand(count, 2, generator=rng) * torch.tensor([540.0, 380.0])
    return torch.cat([corner, corner + 12 + 200 * torch.rand(count, 2, generator=rng) ** 2], dim=1)


def evaluation(backend: Backend, content: tuple[list[Boxes], list[Boxes]], exact: bool = True) -> Callable[[], float]:
    """A call that evaluates everything anew and returns mAP.

    Args:
        backend: Who computes.
        content: From ``made``.
        exact: Recall thresholds in float64, as COCO has them; otherwise torchmetrics' own, in float32.
    """

    def run() -> float:
        metric = MeanAveragePrecision(backend=backend, rec_thresholds=RECALLS if exact else None)
        metric.update(*content)
        return float(metric.compute()["map"])

    return run
