"""A live bar for the running epoch, one lasting line for each finished one, and the same for programs."""

import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import RichProgressBar

from dotcom.logged import GRADIENTS, due
from dotcom.record import write_json
from dotcom.text import make_console

LEFT_OUT = (GRADIENTS, *(f"lr/pg{number}" for number in range(2, 100)))  # of many groups, the rate of the first will do
PAUSE = 2.0  # seconds between two states of progress.json
BLINK = 0.2  # seconds between two states of the bar


class Progress(RichProgressBar):
    """Shows epoch, loss, metrics, images/s and the time left of the whole training.

    Without a terminal (a log file, a pipe) only the lines are printed. The bar shows the loss of the last step that was
    logged: to read another, the device would have to wait.

    ``progress.json`` holds ``epoch``, how many are done, as a fraction; ``epochs``; ``step``, how many optimiser steps
    are done; ``score``, that of the best checkpoint; ``left``, in seconds; and ``updated``, in Unix time.

    Args:
        folder: Where that file goes.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(leave=False)
        self.path = Path(folder) / "progress.json"
        self.live = make_console().is_terminal
        self.started = self.epoch_started = self.first_epoch = self.written = self.drawn = 0.0
        self.images = 0
        self.read: dict[str, Any] = {}  # what the bar shows of the metrics

    @property
    def is_enabled(self) -> bool:
        return self.live and super().is_enabled

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.started = self.epoch_started = time.perf_counter()
        resumed = trainer.fit_loop.batch_idx + 1 if trainer.fit_loop.restarting else 0
        self.first_epoch = trainer.current_epoch + resumed / (trainer.num_training_batches or 1)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_start(trainer, pl_module)
        self.epoch_started, self.images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.images += len(batch[0]) * trainer.world_size
        now, last = time.perf_counter(), batch_idx + 1 == trainer.num_training_batches
        if self.live and due(trainer):
            self._read(trainer, pl_module)
        if now - self.drawn > BLINK or last:
            self.drawn = now
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if now - self.written > PAUSE:
            self._write(trainer, trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches)

    def _get_train_description(self, current_epoch: int) -> str:
        return f"epoch {current_epoch + 1}/{self.trainer.max_epochs}"

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        shown = {name: value for name, value in self.read.items() if name != "v_num"}
        if trainer.training and (batches := trainer.num_training_batches):
            shown["images/s"] = round(self.images / (time.perf_counter() - self.epoch_started))
            shown["left"] = self.time_left(trainer, trainer.current_epoch + trainer.fit_loop.batch_idx / batches)
        return shown

    def _read(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # not logged with prog_bar=True, of which Lightning would read the value in every step
        loss = {name: float(value) for name, value in trainer.callback_metrics.items() if name == "train/loss"}
        self.read = super().get_metrics(trainer, pl_module) | loss

    def time_left(self, trainer: L.Trainer, epochs_done: float) -> str:
        """Hours, minutes and seconds until the last epoch ends, at the pace so far."""
        seconds = self._seconds_left(trainer, epochs_done)
        return "-" if seconds is None else str(timedelta(seconds=round(seconds)))

    def _seconds_left(self, trainer: L.Trainer, epochs_done: float) -> float | None:
        done = epochs_done - self.first_epoch
        if done <= 0 or not trainer.max_epochs or trainer.max_epochs < 0:
            return None
        return (time.perf_counter() - self.started) / done * (trainer.max_epochs - epochs_done)

    def _write(self, trainer: L.Trainer, epochs_done: float) -> None:
        if not trainer.is_global_zero:
            return
        self.written = time.perf_counter()
        best = getattr(trainer.checkpoint_callback, "best_model_score", None)
        state = {
            "epoch": epochs_done,
            "epochs": trainer.max_epochs,
            "step": trainer.global_step,
            "score": None if best is None else float(best),
            "left": self._seconds_left(trainer, epochs_done),
            "updated": time.time(),
        }
        with suppress(OSError):  # a full disk is for those to report who have something to lose
            write_json(self.path, state)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._write(trainer, trainer.current_epoch)  # once more: the last epoch may have made the best checkpoint

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.live:
            self._read(trainer, pl_module)
        super().on_train_epoch_end(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        epoch = trainer.current_epoch + 1
        values = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items() if not name.startswith(LEFT_OUT))
        self._write(trainer, epoch)
        print(f"epoch {epoch}/{trainer.max_epochs}  {shown}  left {self.time_left(trainer, epoch)}", flush=True)
