"""The small sets of scenes: how fast they are made, and what predictions that never look at the image reach.

    python -m experiments.scenes

Chance draws boxes (or a class for every pixel) at random, as often as they occur in training. The position prior
predicts, for every image alike, what is most frequent in training at each place.
"""

import time

import numpy as np
import torch
from rich.progress import track
from rich.table import Table
from torch import Tensor

from dotcom.data import fashion_boxes, fashion_masks, resize_boxes, whole_masks
from dotcom.tasks.detection import mean_average_precision, truth
from dotcom.tasks.segmentation import intersection_over_union
from dotcom.text import make_console

CLASSES = 10
DETECTIONS = 100  # per image, as many as COCO looks at
CELLS = 4  # places along each side for which the position prior knows a typical box


def detection() -> dict[str, float]:
    """Mean average precision at IoU 0.5 of both."""
    train = [target for _, target in track(fashion_boxes("train", resize_boxes(128)), "train boxes")]
    boxes, labels = (torch.cat([target[key] for target in train]) for key in ("boxes", "labels"))
    rng = torch.Generator().manual_seed(0)
    fixed = position_prior(boxes, labels)
    metrics = {"chance": mean_average_precision(), "position prior": mean_average_precision()}
    for _, target in track(fashion_boxes("val", resize_boxes(128)), "val boxes"):
        drawn = torch.randint(len(boxes), (DETECTIONS,), generator=rng)
        scores = torch.rand(DETECTIONS, generator=rng)
        random = {"boxes": boxes[drawn], "labels": labels[drawn], "scores": scores}
        for name, found in (("chance", random), ("position prior", fixed)):
            metrics[name].update([found], [truth(target)])
    return {name: float(metric.compute()["map_50"]) for name, metric in metrics.items()}


def position_prior(boxes: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """For each cell and class the mean of its boxes, scored by their share of all boxes; the most frequent 100."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    cells = (centres / 128 * CELLS).long().clamp(0, CELLS - 1)
    keys = (cells[:, 1] * CELLS + cells[:, 0]) * CLASSES + labels
    counts = keys.bincount(minlength=CELLS * CELLS * CLASSES)
    sums = torch.zeros(len(counts), 4).index_add_(0, keys, boxes)
    best = counts.argsort(descending=True)[:DETECTIONS]
    means = sums[best] / counts[best, None]
    return {"boxes": means, "labels": best % CLASSES, "scores": counts[best] / len(boxes)}


def segmentation() -> dict[str, float]:
    """Mean IoU of both."""
    train = torch.stack([mask for _, mask in track(fashion_masks("train", whole_masks()), "train masks")])
    val = torch.stack([mask for _, mask in track(fashion_masks("val", whole_masks()), "val masks")]).long()
    frequent = torch.stack([(train == label).sum(0) for label in range(CLASSES + 1)])
    share = frequent.sum((1, 2)) / frequent.sum()
    random = np.random.default_rng(0).choice(CLASSES + 1, val.shape, p=share.double().numpy() / share.double().sum())
    guesses = {"chance": torch.from_numpy(random), "position prior": frequent.argmax(0).expand_as(val)}
    scores = {}
    for name, guess in guesses.items():
        counts = (val * (CLASSES + 1) + guess).flatten().bincount(minlength=(CLASSES + 1) ** 2)
        scores[name] = float(intersection_over_union(counts.view(CLASSES + 1, CLASSES + 1)).nanmean())
    return scores


def scenes_per_second(count: int = 1000) -> float:
    """Scenes made in one second of CPU time, one core, photos cut out on the way."""
    scenes = fashion_masks("train", whole_masks())
    started = time.process_time()
    for index in range(count):
        scenes.generate(index)
    return count / (time.process_time() - started)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(f"{scenes_per_second():.0f} scenes per second and core")
    table = Table("prediction", "fashion_boxes, mAP50", "fashion_masks, mIoU")
    columns = detection(), segmentation()
    for name in columns[0]:
        table.add_row(name, *(f"{column[name]:.2%}" for column in columns))
    make_console().print(table)
