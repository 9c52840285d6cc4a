"""A backbone that waits until its new head has learnt something."""

from typing import Any

import lightning as L
from torch.optim import Optimizer


class FrozenBackbone(L.Callback):
    """Keeps ``model.backbone`` as it is, weights and running statistics, for the first epochs.

    Gradients are computed and thrown away, because DistributedDataParallel would take a parameter without one for a
    mistake, and would never synchronise one that was frozen when it began.

    Args:
        epochs: How many; 0 for none.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.on_train_epoch_start(trainer, pl_module)  # which is not called where a run is resumed within an epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.epochs:
            network: Any = pl_module.model
            network.backbone.train(trainer.current_epoch >= self.epochs)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if trainer.current_epoch < self.epochs:
            network: Any = pl_module.model
            for parameter in network.backbone.parameters():
                parameter.grad = None
