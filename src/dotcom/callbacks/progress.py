"""A live bar for the running epoch, and one lasting line for each finished one."""

import time
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar
from rich.console import Console

from dotcom.logged import GRADIENTS


class Progress(RichProgressBar):
    """Shows epoch, loss, metrics, images/s and the time left of the whole training.

    Without a terminal (a log file, a pipe) only the lines are printed.
    """

    def __init__(self, refresh_rate: int = 10) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=False)
        self.live = Console().is_terminal
        self.started = self.epoch_started = 0.0
        self.first_epoch = self.images = 0

    @property
    def is_enabled(self) -> bool:
        return self.live and super().is_enabled

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.started, self.first_epoch = time.perf_counter(), trainer.current_epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.epoch_started, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[0]) * trainer.world_size
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        shown = super().get_metrics(trainer, pl_module)
        shown.pop("v_num", None)
        if trainer.training and (batches := trainer.num_training_batches):
            shown["images/s"] = round(self.images / (time.perf_counter() - self.epoch_started))
            shown["left"] = self.time_left(trainer, trainer.current_epoch + trainer.fit_loop.batch_idx / batches)
        return shown

    def time_left(self, trainer: L.Trainer, epochs_done: float) -> str:
        """Hours, minutes and seconds until the last epoch ends, at the pace so far."""
        done = epochs_done - self.first_epoch
        if done <= 0 or not trainer.max_epochs or trainer.max_epochs < 0:
            return "-"
        seconds = (time.perf_counter() - self.started) / done * (trainer.max_epochs - epochs_done)
        return str(timedelta(seconds=round(seconds)))

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch + 1
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if not name.startswith(GRADIENTS))
        print(f"epoch {epoch}/{trainer.max_epochs}  {shown}  left {self.time_left(trainer, epoch)}", flush=True)
