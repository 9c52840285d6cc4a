"""How much faster COCO's metric is with faster-coco-eval than with pycocotools, and that both agree.

    python -m experiments.evaluation --images 500

Both sides get the same made detections (100 per image, 80 classes) in turns, in this process; times are CPU time.
"""

import argparse
import statistics
import time

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from dotcom.tasks.detection import RECALLS

CLASSES, DETECTIONS = 80, 100
BACKENDS = ("pycocotools", "faster_coco_eval")

Boxes = dict[str, Tensor]


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


def timed(backend: str, detections: list[Boxes], truths: list[Boxes]) -> tuple[float, float]:
    """CPU seconds of one evaluation, and its mAP."""
    metric = MeanAveragePrecision(backend=backend, rec_thresholds=RECALLS)
    metric.update(detections, truths)
    started = time.process_time()
    value = float(metric.compute()["map"])
    return time.process_time() - started, value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    made_up = made(options.images)
    rounds = [[timed(backend, *made_up) for backend in BACKENDS] for _ in range(options.rounds)]
    ratios = [slow / fast for (slow, _), (fast, _) in rounds]
    difference = max(abs(a - b) for (_, a), (_, b) in rounds)
    table = Table("images", "pycocotools / faster-coco-eval", "lowest to highest", "mAP", "difference")
    table.add_row(
        str(options.images),
        f"{statistics.median(ratios):.1f}",
        f"{min(ratios):.1f} to {max(ratios):.1f}",
        f"{rounds[0][1][1]:.6f}",
        f"{difference:.1e}",
    )
    Console().print(table)
