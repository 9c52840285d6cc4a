"""Single-label image classification."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from dotcom.tasks.base import Task
from dotcom.tasks.distillation import Distillation
from dotcom.tasks.parameters import Decayed

Batch = tuple[Tensor, Tensor]  # images (B, 3, H, W) normalised; labels (B,), or (B, classes) where blended


class Classification(Task):
    """Cross-entropy on logits; reports ``val/loss``, and ``val/top1`` and ``val/top5`` in [0, 1].

    Args:
        model: Images to logits.
        optimizer: As in ``Task``.
        scheduler: As in ``Task``.
        num_classes: Width of the logits.
        label_smoothing: In [0, 1); of the training loss only.
        ema: As in ``Task``.
        channels_last: As in ``Task``.
        compile: As in ``Task``.
        backbone_lr: As in ``Task``.
        layer_decay: As in ``Task``.
        decayed: As in ``Task``.
        teacher: Whose answers are a part of the training loss; None for the labels alone.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        num_classes: int,
        label_smoothing: float = 0.0,
        ema: float | None = None,
        channels_last: bool = False,
        compile: bool | str = False,
        backbone_lr: float = 1.0,
        layer_decay: float = 1.0,
        decayed: Decayed = "all",
        teacher: Distillation | None = None,
    ) -> None:
        super().__init__(model, optimizer, scheduler, ema, channels_last, compile, backbone_lr, layer_decay, decayed)
        self.teacher = teacher
        self.loss = nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        self.val_loss = nn.CrossEntropyLoss(reduction="none")
        accuracy = {
            f"top{k}": MulticlassAccuracy(num_classes, top_k=min(k, num_classes), average="micro") for k in (1, 5)
        }
        metrics = MetricCollection({"loss": MeanMetric(), **accuracy}, compute_groups=False)
        self.metrics = nn.ModuleDict({name: metrics.clone(prefix=f"{name}/") for name in self.evaluated})

    def on_fit_start(self) -> None:
        if self.teacher is not None:
            trainer: Any = self.trainer
            self.teacher.begin(
                trainer.datamodule.mean, trainer.datamodule.std, self.classes, trainer.strategy.root_device
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        images, labels = batch
        logits = self.model(images)
        loss = self.loss(logits, labels)
        if self.teacher is not None:
            loss = self.teacher.loss(logits, images, loss)
        if self.logs:
            self.log("train/loss", loss)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Update the metrics; returns the logits (B, num_classes) of the network, not of its average."""
        images, labels = batch
        outputs = {name: network(images) for name, network in self.evaluated.items()}
        for name, logits in outputs.items():
            metrics: Any = self.metrics[name]
            metrics["loss"].update(self.val_loss(logits.float(), labels))
            metrics["top1"].update(logits, labels)
            metrics["top5"].update(logits, labels)
            for label, metric in metrics.items():
                self.log(label, metric, prog_bar=label == "val/top1")
        return outputs["val"]
