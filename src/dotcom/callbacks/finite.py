"""A run whose loss or weights are no numbers any more stops, before it overwrites what is still good."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.distributed as dist
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from dotcom.callbacks.randomness import random_states
from dotcom.errors import UsageError

ADVICE = "try a lower optimizer.lr, or clip=1.0"


class FiniteLoss(L.Callback):
    """Stops at a loss of NaN or infinity, and leaves ``nan_batch.pt`` to look into.

    The loss of a step is read when the next one has been given to the device. A GPU so always has a step to work on,
    while reading it at once would make it wait for Python, each time. Before anything is saved, the last loss and all
    weights are looked at, so no checkpoint holds a number that is none. All processes stop together.

    ``nan_batch.pt`` holds ``batch`` as the network saw it, ``step`` (optimiser steps before it), ``epoch``, ``loss``,
    ``random_states`` from before the step, and ``checkpoint``, the file with the last good weights: resumed from it
    (``resume=true``), the run comes to the same step and batch again.

    Args:
        folder: Where the file goes, and ``last.ckpt`` is.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "nan_batch.pt"
        self.step = 0
        self.states: dict[str, Any] = {}  # before that step
        self.before: dict[str, Any] | None = None  # the step whose loss has not been read

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.states = random_states(trainer.strategy.root_device)
        self.step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._check(trainer)
        self.before = {
            "batch": batch,
            "step": self.step,
            "epoch": trainer.current_epoch,
            "loss": outputs["loss"],
            "random_states": self.states,
        }

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._check(trainer, checkpoint["state_dict"].values())

    def _check(self, trainer: L.Trainer, weights: Iterable[Tensor] = ()) -> None:
        """Look at the loss that has not been read, and at ``weights``; raise UsageError in all processes."""
        good = (self.before is None or bool(self.before["loss"].isfinite())) and all_finite(weights)
        first = trainer.world_size if good else trainer.global_rank
        if trainer.world_size > 1:
            shared = torch.tensor(first, device=trainer.strategy.root_device)
            dist.all_reduce(shared, dist.ReduceOp.MIN)
            first = int(shared)
        if first == trainer.world_size:
            return
        if first != trainer.global_rank:
            raise UsageError(f"stopped, because process {first} met a number that is none")
        step = self.before or {"step": trainer.global_step, "epoch": trainer.current_epoch, "loss": torch.tensor(0.0)}
        last = self.path.with_name("last.ckpt")
        kept = {"checkpoint": str(last) if last.exists() else None}
        torch.save(move_data_to_device(step, torch.device("cpu")) | kept, self.path)
        loss = float(step["loss"])
        what = "the weights hold numbers that are none" if loss == loss and abs(loss) != torch.inf else f"loss {loss}"
        raise UsageError(
            f"step {step['step']} of epoch {step['epoch'] + 1}: {what}; {ADVICE}; its batch is in {self.path}, "
            f"and {f'{last} is from before it' if last.exists() else 'there is no checkpoint yet'}"
        )


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all floating-point numbers are finite; waits for the device once."""
    numbers = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    largest = [tensor.abs().amax().float() for tensor in numbers]
    return not largest or bool(torch.stack(largest).isfinite().all())
