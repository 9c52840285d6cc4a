"""Object detection."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric
from torchmetrics.detection import MeanAveragePrecision

from dotcom.tasks.base import Task
from dotcom.tasks.parameters import Decayed

# images (B, 3, H, W) normalised; per image "boxes" (N, 4) as x1 y1 x2 y2 in pixels of that image, "labels" (N,);
# in validation also what the original holds: "original" boxes, "area", "iscrowd", "size" (H, W), "image_id"
Batch = tuple[Tensor, list[dict[str, Any]]]

Pair = tuple[dict[str, Tensor], dict[str, Tensor]]  # detections and truth of one image, as the metric wants them

SUMMARY = ("map", "map_50", "map_75", "map_small", "map_medium", "map_large")
RECALLS = np.linspace(0, 1, 101).tolist()  # torchmetrics' own are float32 and off by up to 6e-8, mAP by up to 7e-5


class Detection(Task):
    """The losses of the network, summed; reports ``val/map`` and so on as COCO defines them, in [0, 1].

    Boxes are compared in pixels of the original image; crowd boxes are ignored, as COCO does.

    Args:
        model: A ``Detector``: images to outputs, with ``losses`` and ``detect``.
        optimizer: As in ``Task``.
        scheduler: As in ``Task``.
        ema: As in ``Task``.
        channels_last: As in ``Task``.
        compile: As in ``Task``.
        backbone_lr: As in ``Task``.
        layer_decay: As in ``Task``.
        decayed: As in ``Task``.

    Attributes:
        per_class: After a final validation, ``AP`` and ``AP50`` of each class that the data hold.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        ema: float | None = None,
        channels_last: bool = False,
        compile: bool | str = False,
        backbone_lr: float = 1.0,
        layer_decay: float = 1.0,
        decayed: Decayed = "all",
    ) -> None:
        super().__init__(model, optimizer, scheduler, ema, channels_last, compile, backbone_lr, layer_decay, decayed)
        self.seen: dict[str, list[Pair]] = defaultdict(list)
        self.val_losses = nn.ModuleDict({name: MeanMetric() for name in self.evaluated})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, targets = batch
        losses = self.model.losses(self.model(images), targets)  # type: ignore[operator]
        loss = torch.stack(list(losses.values())).sum()
        if self.logs:
            self.log("train/loss", loss, batch_size=len(images))
            self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=len(images))
        return loss

    def on_validation_epoch_start(self) -> None:
        self.seen.clear()  # what an interrupted validation may have left

    def validation_step(self, batch: Batch, batch_idx: int) -> Any:
        """Update the metrics; returns the detections of the network, not of its average, in original pixels."""
        images, targets = batch
        found = {name: self._evaluate(name, network, images, targets) for name, network in self.evaluated.items()}
        return found["val"]

    def _evaluate(
        self, name: str, network: Any, images: Tensor, targets: list[dict[str, Any]]
    ) -> list[dict[str, Tensor]]:
        outputs = network(images)
        losses = network.losses(outputs, [without_crowd(target) for target in targets])
        val_loss: Any = self.val_losses[name]
        val_loss.update(torch.stack(list(losses.values())).sum(), len(images))
        detections: list[dict[str, Tensor]] = network.detect(outputs, images.shape[-2:])
        height, width = images.shape[-2:]
        for detection, target in zip(detections, targets, strict=True):
            y, x = target["size"][0] / height, target["size"][1] / width
            detection["boxes"] = detection["boxes"] * detection["boxes"].new_tensor([x, y, x, y])
        pairs = zip(detections, map(truth, targets), strict=True)
        self.seen[name] += move_data_to_device(list(pairs), torch.device("cpu"))
        return detections

    def on_validation_epoch_end(self) -> None:
        for name in self.evaluated:
            result = self._measured(self.seen[name])
            scores = {key: result[key].to(self.device) for key in SUMMARY if result[key] >= 0}  # -1: no such object
            val_loss: Any = self.val_losses[name]
            scores["loss"] = val_loss.compute()
            val_loss.reset()
            self.log_dict({f"{name}/{key}": value for key, value in scores.items()}, sync_dist=True)
            if name == "val":
                self.per_class = average_precisions(result, self.classes)

    def _measured(self, pairs: list[Pair]) -> dict[str, Tensor]:
        """What the metric says of all images of all processes; the first one computes, the others wait."""
        if self.trainer.world_size == 1:
            return measured(pairs)
        shares: list[Any] = [None] * self.trainer.world_size
        dist.all_gather_object(shares, pairs)
        # in turns, as they were dealt out: the order decides between equal scores
        dealt = [pair for row in zip_longest(*shares) for pair in row if pair]
        result: list[Any] = [measured(dealt) if self.global_rank == 0 else None]
        dist.broadcast_object_list(result)
        return result[0]


def measured(pairs: Sequence[Pair]) -> dict[str, Tensor]:
    """Mean average precision and so on from (detections, truth) of each image."""
    metric = mean_average_precision()
    metric.update([found for found, _ in pairs], [true for _, true in pairs])
    result: dict[str, Tensor] = metric.compute()
    return result


def mean_average_precision() -> MeanAveragePrecision:
    """COCO's metric by faster-coco-eval, equal to pycocotools; of this process alone.

    Its own gathering sends one message per image and waits forever where processes hold different numbers of them.
    """
    return MeanAveragePrecision(
        backend="faster_coco_eval", rec_thresholds=RECALLS, extended_summary=True, sync_on_compute=False
    )


def average_precisions(result: dict[str, Tensor], classes: list[str]) -> dict[str, dict[str, float]]:
    """Per class name ``AP`` and ``AP50`` in [0, 1], of the classes that have objects.

    Args:
        result: Of the metric, with ``precision`` (10 IoU thresholds, 101 recalls, classes, 4 areas, 3 limits).
        classes: Class names; where there are none, numbers stand for them.
    """
    table = {}
    for index, label in enumerate(result["classes"].flatten().tolist()):
        precision = result["precision"][:, :, index, 0, -1]
        if (precision > -1).any():
            table[classes[label] if classes else str(label)] = {
                "AP": float(precision.mean()),
                "AP50": float(precision[0].mean()),
            }
    return table


def without_crowd(target: dict[str, Any]) -> dict[str, Tensor]:
    """The boxes, as the network sees them, that a loss may ask for."""
    single = target["iscrowd"] == 0
    return {"boxes": target["boxes"][single], "labels": target["labels"][single]}


def truth(target: dict[str, Any]) -> dict[str, Tensor]:
    """What the metric compares detections with."""
    return {
        "boxes": target["original"],
        "labels": target["labels"],
        "iscrowd": target["iscrowd"],
        "area": target["area"],
    }
