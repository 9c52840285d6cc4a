"""Semantic segmentation."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from dotcom.tasks.base import Task
from dotcom.tasks.parameters import Decayed

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) normalised; classes uint8 (B, H, W), 255 where there is none

IGNORED = 255
AUXILIARY = 0.4  # weight of the auxiliary loss: PSPNet (arXiv:1612.01105), Section 5.1


class Segmentation(Task):
    """Cross-entropy per pixel; reports ``val/miou``, ``val/pixel_accuracy`` (both in [0, 1]) and ``val/loss``.

    The counts are gathered over the whole split before anything is divided. A class that neither the masks nor the
    predictions hold is left out of the mean, as for PASCAL VOC.

    Args:
        model: A ``Segmenter``: images to logits, with ``segment`` for images of any size.
        optimizer: As in ``Task``.
        scheduler: As in ``Task``.
        num_classes: Width of the logits.
        label_smoothing: In [0, 1); of the training loss only.
        class_weights: Weight of each class in the training loss.
        ema: As in ``Task``.
        channels_last: As in ``Task``.
        compile: As in ``Task``.
        backbone_lr: As in ``Task``.
        layer_decay: As in ``Task``.
        decayed: As in ``Task``.

    Attributes:
        per_class: After a validation, ``IoU`` of each class that occurred.
    """

    class_weights: Tensor | None

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        num_classes: int,
        label_smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        ema: float | None = None,
        channels_last: bool = False,
        compile: bool | str = False,
        backbone_lr: float = 1.0,
        layer_decay: float = 1.0,
        decayed: Decayed = "all",
    ) -> None:
        super().__init__(model, optimizer, scheduler, ema, channels_last, compile, backbone_lr, layer_decay, decayed)
        if class_weights is not None and len(class_weights) != num_classes:
            raise ValueError(f"class_weights: expected {num_classes} numbers, one for each class, got {class_weights}")
        weights = None if class_weights is None else torch.tensor([float(weight) for weight in class_weights])
        # a setting, not a state: a checkpoint made with others can be evaluated
        self.register_buffer("class_weights", weights, persistent=False)
        self.label_smoothing = label_smoothing
        self.val_loss = nn.CrossEntropyLoss(ignore_index=IGNORED, reduction="none")
        self.counts = nn.ModuleDict(
            {name: MulticlassConfusionMatrix(num_classes, ignore_index=IGNORED) for name in self.evaluated}
        )
        self.val_losses = nn.ModuleDict({name: MeanMetric() for name in self.evaluated})

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, classes = batch[0], batch[1].long()
        outputs = self.model(images)
        if isinstance(outputs, tuple):
            loss = self._loss(outputs[0], classes) + AUXILIARY * self._loss(outputs[1], classes)
        else:
            loss = self._loss(outputs, classes)
        if self.logs:
            self.log("train/loss", loss)
        return loss

    def _loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        """Weighted mean over all pixels that have a class; 0 where none has, of which PyTorch's mean makes NaN."""
        total = F.cross_entropy(
            logits,
            classes,
            self.class_weights,
            ignore_index=IGNORED,
            reduction="sum",
            label_smoothing=self.label_smoothing,
        )
        counts = classes != IGNORED  # no indexing with it: a GPU would have to wait to know the size of the result
        shares = counts if self.class_weights is None else counts * self.class_weights[classes.where(counts, 0)]
        return total / shares.sum().clamp(min=torch.finfo(total.dtype).tiny)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Update the metrics; returns the classes (B, H, W) that the network, not its average, sees."""
        images, classes = batch[0], batch[1].long()
        outputs = {name: network.segment(images) for name, network in self.evaluated.items()}  # type: ignore[operator]
        for name, logits in outputs.items():
            counts: Any = self.counts[name]
            counts.update(logits.argmax(dim=1), classes)
            val_loss: Any = self.val_losses[name]
            val_loss.update(self.val_loss(logits.float(), classes)[classes != IGNORED])
            self.log(f"{name}/loss", val_loss)
        return outputs["val"].argmax(dim=1)

    def on_validation_epoch_end(self) -> None:
        for name in self.evaluated:
            metric: Any = self.counts[name]
            counts: Tensor = metric.compute()
            metric.reset()
            ious = intersection_over_union(counts)
            self.log(f"{name}/miou", ious.nanmean(), prog_bar=name == "val", sync_dist=True)
            self.log(f"{name}/pixel_accuracy", (counts.trace() / counts.sum()).float(), sync_dist=True)
            if name == "val":
                names = self.classes or [str(number) for number in range(len(ious))]
                table = zip(names, ious.tolist(), strict=True)
                self.per_class = {name: {"IoU": iou} for name, iou in table if iou == iou}


def intersection_over_union(counts: Tensor) -> Tensor:
    """Per class, in [0, 1], from a confusion matrix; NaN for a class that does not occur at all."""
    right = counts.diagonal()
    return right / (counts.sum(0) + counts.sum(1) - right)
