"""The checkpoint from which a run goes on as if it had never been stopped."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist

from dotcom.callbacks.agreement import Agreement
from dotcom.callbacks.randomness import draw_apart, random_states, set_random_states
from dotcom.callbacks.stop import Stopped, StopRequest
from dotcom.errors import UsageError, vanished


class LastCheckpoint(L.Callback):
    """Keeps ``last.ckpt``, from which a run goes on exactly as if it had not been stopped.

    It is written after each epoch, before each validation, every so many steps or minutes, and when the run is asked
    to stop (SIGTERM, SIGUSR1, Ctrl-C), which ends it with ``Stopped``. A stop waits for the end of the optimiser step,
    with several processes for the end of the one that begins next, in the course of which they agree to it; in a
    validation it does not wait, because the checkpoint before it is exact; with several processes it does, because they
    do not have equally many batches.

    Note: Lightning calls no hook once the metrics of a step or an epoch are logged, and what it saves in the hooks
        before that loses them. So its loops are extended where they end a step and an epoch.

    Args:
        folder: Where the file goes.
        every_steps: Optimiser steps between two checkpoints within an epoch; None for none.
        every_minutes: Minutes between two checkpoints within an epoch; None for none.
    """

    def __init__(self, folder: str, every_steps: int | None = None, every_minutes: float | None = None) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every_steps, self.every_minutes = every_steps, every_minutes
        self.request = StopRequest()
        self.agreement = Agreement()
        self.step = 0  # of the last look
        self.saved = 0.0  # when
        self.saving: str | None = None  # where in the course of training
        self.random_states: dict[str, Any] | None = None  # to go on with
        self.logged: dict[str, Any] = {}  # state of each logger to go on with
        self.place: dict[str, Any] | None = None  # in the epoch, to go on with
        self.processes = self.steps = 0  # that trained up to there, and in how many steps an epoch; 0: not known

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            loop: Any = trainer.fit_loop
            self.agreement = Agreement(trainer.world_size)
            # Lightning asks the first process in every step whether it got the signal that StopRequest has taken over,
            # and makes every device wait for the answer
            loop.epoch_loop._broadcast_sigterm_tensor = lambda: None
            extend(loop.epoch_loop, lambda: self._after_batch(trainer))
            extend(loop, lambda: self._after_epoch(trainer))

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for logger in trainer.loggers:
            if hasattr(logger, "load_state_dict"):
                logger.load_state_dict(self.logged.get(type(logger).__name__, {"rows": 0}))

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():
            self.request.listen()  # instead of Lightning, whose handler talks to other processes in mid-step
        self.step, self.saved = trainer.global_step, time.monotonic()
        if self.random_states is not None:
            set_random_states(self.random_states, trainer.strategy.root_device)
        else:
            draw_apart(trainer.global_rank, trainer.global_step)
        if self.processes not in (0, trainer.world_size) or self.steps not in (0, steps_of_epoch(trainer)):
            self._move_schedules(trainer)
        trainer.fit_loop.epoch_loop.val_loop.batch_progress.total.reset_on_restart()  # see on_save_checkpoint
        if self.place and trainer.fit_loop.restarting and not trainer.is_last_batch:
            # Lightning would have done it, had the number of steps not been asked for before the checkpoint was read
            trainer.train_dataloader.load_state_dict(self.place)  # type: ignore[union-attr]

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.world_size > 1:
            self.agreement.ask(self.request.number, self._late())

    def _move_schedules(self, trainer: L.Trainer) -> None:
        """After epochs of another length (processes, ``data.batch_size``): to the same part of the training."""
        if trainer.max_epochs:
            for config in trainer.lr_scheduler_configs:
                part = trainer.current_epoch / trainer.max_epochs
                config.scheduler.last_epoch = round(part * trainer.estimated_stepping_batches)

    def _after_batch(self, trainer: L.Trainer) -> None:
        if trainer.world_size == 1:
            self.agreement.ask(self.request.number, self._late())
        stop, late = self.agreement.answer() or (0, 0)  # no answer where a resumed run goes on with its validation
        if trainer.global_step == self.step or trainer.is_last_batch:
            return  # gradients are still being accumulated, or the end of the epoch follows at once
        self.step = trainer.global_step
        if stop or late or (self.every_steps and self.step % self.every_steps == 0):
            self._save(trainer, "step")
        if stop:
            raise Stopped(stop)

    def _late(self) -> bool:
        return self.every_minutes is not None and time.monotonic() - self.saved >= 60 * self.every_minutes

    def _after_epoch(self, trainer: L.Trainer) -> None:
        self.step = trainer.global_step
        self._save(trainer, "epoch")
        self.agreement.ask(self.request.number)
        if stop := self.agreement.answer()[0]:
            raise Stopped(stop)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._save(trainer, "validation")

    def on_validation_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.state.fn == "fit" and trainer.world_size == 1 and self.request.number:
            raise Stopped(self.request.number)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        unsaved = trainer.strategy.broadcast(getattr(trainer.strategy.checkpoint_io, "unsaved", {}))  # rank 0 saves
        if unsaved:
            raise UsageError(f"{'; '.join(unsaved.values())}; make room, then go on with resume=true")

    def _save(self, trainer: L.Trainer, where: str) -> None:
        if trainer.is_global_zero and not self.path.parent.is_dir():
            raise UsageError(vanished(self.path.parent))
        for logger in trainer.loggers:
            logger.save()
        self.saving = where
        trainer.save_checkpoint(self.path)
        self.saving, self.saved = None, time.monotonic()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        states: list[Any] = [random_states(trainer.strategy.root_device)]
        if trainer.world_size > 1:
            (own,), states = states, [None] * trainer.world_size
            dist.all_gather_object(states, own)
        checkpoint["random_states"] = states
        checkpoint["steps_of_epoch"] = steps_of_epoch(trainer)
        checkpoint["between_epochs"] = self.saving == "epoch"
        loggers: list[Any] = [logger for logger in trainer.loggers if hasattr(logger, "load_state_dict")]
        checkpoint["logged"] = {type(logger).__name__: logger.state_dict() for logger in loggers}
        if self.saving:
            checkpoint["epoch"] -= 1  # the last one that is complete; Lightning would name the next
        if self.saving == "validation":
            # Lightning passes over a validation that has not begun. This one counts as interrupted in its first batch.
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
            progress["ready"] += 1
            progress["started"] += 1

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        states = checkpoint.get("random_states", [])
        self.processes, self.steps = len(states), checkpoint.get("steps_of_epoch", 0)
        seeds = {config.get("seed") for config in (checkpoint.get("config", {}), getattr(pl_module, "config", {}))}
        if self.processes == trainer.world_size:
            self.random_states = states[trainer.global_rank] if len(seeds) == 1 else None  # else those of the new seed
        elif states and trainer.state.fn == "fit" and not checkpoint.get("between_epochs", True):
            raise UsageError(
                f"ckpt_path={trainer.ckpt_path}: it is from within an epoch, which {len(states)} process(es) "
                f"shared, not {trainer.world_size}; start {len(states)}, at least until the epoch has ended"
            )
        own = Path(str(trainer.ckpt_path)).absolute() == self.path.absolute()
        self.logged = checkpoint.get("logged", {})
        if not own:  # in a new folder a new file begins
            self.logged = {name: {"rows": state["rows"]} for name, state in self.logged.items()}
        self.place = next(iter(checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])), None)
        if own:
            move_best(checkpoint["callbacks"], self.path.parent)


def steps_of_epoch(trainer: L.Trainer) -> int:
    """Optimiser steps of one epoch; 0 before the data are known."""
    batches = trainer.num_training_batches
    return 0 if batches == float("inf") else -(-int(batches) // trainer.accumulate_grad_batches)


def move_best(states: dict[str, Any], folder: Path) -> None:
    """Let the state of ModelCheckpoint name the folder where the run is now: it may have been moved."""
    for state in states.values():
        if "best_model_path" in state and state["dirpath"] != str(folder):
            here = {path: str(folder / Path(path).name) for path in [state["best_model_path"], *state["best_k_models"]]}
            state["dirpath"] = str(folder)
            state["best_k_models"] = {here[path]: score for path, score in state["best_k_models"].items()}
            for key in ("best_model_path", "kth_best_model_path"):
                state[key] = here.get(state[key], state[key])


def extend(loop: Any, then: Callable[[], None]) -> None:
    """Call ``then`` whenever the loop has ended a step, metrics and all."""
    end = type(loop).on_advance_end

    def on_advance_end(*args: Any) -> None:
        end(loop, *args)
        then()

    loop.on_advance_end = on_advance_end
