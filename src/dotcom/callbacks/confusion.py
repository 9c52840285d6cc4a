"""Which classes a network takes for which."""

from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from dotcom.logged import CONFUSION, MOST_CLASSES


class ConfusionMatrix(L.Callback):
    """Logs ``val/confusion`` to W&B in every validation: images, or pixels, by true and by predicted class.

    Classification is counted here; a segmentation task has counted already. Detection has none, and with more than
    100 classes, or without W&B, nothing is counted.
    """

    def __init__(self) -> None:
        self.counts: Tensor | None = None  # (true, predicted); None where nobody wants them

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        wanted = any(isinstance(logger, WandbLogger) for logger in trainer.loggers) and not trainer.sanity_checking
        size = data.num_classes if wanted and data and data.num_classes <= MOST_CLASSES else None
        self.counts = torch.zeros(size, size, dtype=torch.long, device=pl_module.device) if size else None

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        if self.counts is not None and isinstance(outputs, Tensor) and outputs.ndim == 2:  # logits
            self.counts += multiclass_confusion_matrix(outputs.argmax(1), batch[1], len(self.counts))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.counts is None:
            return
        own: Any = getattr(pl_module, "counts", None)  # before the task resets them: callbacks come first
        counts = own["val"].compute() if own else trainer.strategy.reduce(self.counts, reduce_op="sum")
        if trainer.is_global_zero and counts.any():
            classes: list[str] = trainer.datamodule.classes  # type: ignore[attr-defined]
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    chart: Any = {CONFUSION: heat_map(counts.tolist(), classes)}
                    logger.log_metrics(chart, max(0, trainer.global_step - 1))  # the last step, as of val/loss


def heat_map(counts: list[list[int]], classes: list[str]) -> Any:
    """W&B's own chart of a confusion matrix, which wants one row for each cell."""
    import wandb

    cells = [[true, guess, counts[i][j]] for i, true in enumerate(classes) for j, guess in enumerate(classes)]
    columns = ("Actual", "Predicted", "nPredictions")
    table = wandb.Table(columns=list(columns), data=cells)
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=table,
        fields=dict(zip(columns, columns, strict=True)),
        string_fields={"title": "Confusion matrix"},
    )
