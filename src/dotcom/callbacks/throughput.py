"""How many images a second training takes in."""

import time
from typing import Any

import lightning as L


class Throughput(L.Callback):
    """Logs ``images/s`` once per epoch: training images over wall time, all devices together.

    The clock runs from the start of the epoch to its last training step, so loading counts and validation does not.
    In an epoch within which a run was stopped and resumed, only what this process did counts; if it did nothing of it,
    because only the validation was left, the speed is that of the process before it.
    """

    def __init__(self) -> None:
        self.images = 0
        self.started = self.last = 0.0
        self.before = 0.0  # images/s of a process that trained in the same epoch

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images, "seconds": self.last - self.started}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = state_dict["images"] / state_dict["seconds"] if state_dict["seconds"] else 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.started = self.last = time.perf_counter()  # a resumed epoch has no start of its own

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.images, self.before = 0, 0.0
        self.started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[0]) * trainer.world_size
        self.last = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        speed = self.images / (self.last - self.started) if self.images else self.before
        if speed:
            pl_module.log("images/s", speed, rank_zero_only=True)
