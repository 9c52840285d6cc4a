"""How many images a second training takes in."""

import time
from typing import Any

import lightning as L


class Throughput(L.Callback):
    """Logs ``images/s`` once per epoch: training images over wall time, all devices together.

    The clock runs from the start of the epoch to its last training step, so loading counts and validation does not.
    """

    def __init__(self) -> None:
        self.images = 0
        self.started = self.last = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.images = 0
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[0]) * trainer.world_size
        self.last = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.images:
            pl_module.log("images/s", self.images / (self.last - self.started), rank_zero_only=True)
