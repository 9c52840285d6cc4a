"""How many images a second training takes in."""

import time
from typing import Any

import lightning as L


class Throughput(L.Callback):
    """Logs ``images/s`` once per epoch: training images over wall time, all devices together.

    The clock runs from the start of the epoch to its last training step, so loading counts and validation does not.
    An epoch in which a run was killed counts without the time in between.
    """

    def __init__(self) -> None:
        self.images = 0
        self.started = self.last = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.last - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images, self.last = state_dict["images"], state_dict["seconds"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        now = time.perf_counter()
        self.started, self.last = now - self.last, now  # as if the epoch had begun that long ago

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
