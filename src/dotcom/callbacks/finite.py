"""A run whose loss or weights are no numbers any more stops, before it overwrites what is still good."""

import math
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities import move_data_to_device
from torch import Tensor

from dotcom.callbacks.agreement import Agreement
from dotcom.callbacks.randomness import random_states
from dotcom.errors import UsageError

ADVICE = "try a lower optimizer.lr, or clip=1.0"
AHEAD = 3  # steps that Python may have given to a GPU whose losses it has not seen; each holds a batch in memory

Step = dict[str, Any]


class FiniteLoss(L.Callback):
    """Stops at a loss of NaN or infinity, and leaves ``nan_batch.pt`` to look into.

    A GPU copies the loss of a step to the memory of the host when it gets there, and Python looks at those that have
    arrived, so neither waits for the other: a bad loss is met up to ``AHEAD`` steps later. Before anything is saved,
    all losses and all weights are looked at, so no checkpoint holds a number that is none. All processes stop together.

    ``nan_batch.pt`` holds ``batch`` as the network saw it, ``step`` (optimiser steps before it), ``epoch``, ``loss``,
    ``random_states`` from before the step, and ``checkpoint``, the file with the last good weights: resumed from it
    (``resume=true``), the run comes to the same step and batch again.

    Args:
        folder: Where the file goes, and ``last.ckpt`` is.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "nan_batch.pt"
        self.agreement = Agreement()
        self.losses = Losses()
        self.step = 0
        self.states: dict[str, Any] = {}  # before that step
        self.before: Step | None = None  # the last step
        self.bad: Step | None = None  # the first step whose loss is no number

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if stage == "fit":
            self.agreement = Agreement(trainer.world_size)
            self.losses = Losses(torch.cuda.Event if trainer.strategy.root_device.type == "cuda" else None)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self.states = random_states(trainer.strategy.root_device)
        self.step = trainer.global_step
        if trainer.world_size > 1:
            self._ask(trainer)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.before = {
            "batch": batch,
            "step": self.step,
            "epoch": trainer.current_epoch,
            "loss": outputs["loss"],
            "random_states": self.states,
        }
        self.losses.add(self.before)
        self.bad = self.bad or self.losses.bad()
        if trainer.world_size == 1:
            self._ask(trainer)
        self._stop_if_agreed(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.bad = self.bad or self.losses.bad(wait=True)
        if self.bad is None and not all_finite(checkpoint["state_dict"].values()):
            self.bad = self.before or {
                "step": trainer.global_step,
                "epoch": trainer.current_epoch,
                "loss": torch.tensor(0.0),
            }
        self._ask(trainer)
        self._stop_if_agreed(trainer)

    def _ask(self, trainer: L.Trainer) -> None:
        self.agreement.ask(0 if self.bad is None else trainer.world_size - trainer.global_rank)

    def _stop_if_agreed(self, trainer: L.Trainer) -> None:
        """Raise UsageError in all processes if one of them had met a bad step when it asked."""
        (found,) = self.agreement.answer()
        if not found:
            return
        first = trainer.world_size - found
        if self.bad is None or first != trainer.global_rank:
            raise UsageError(f"stopped, because process {first} met a number that is none")
        last = self.path.with_name("last.ckpt")
        kept = {"checkpoint": str(last) if last.exists() else None}
        torch.save(move_data_to_device(self.bad, torch.device("cpu")) | kept, self.path)
        loss = float(self.bad["loss"])
        what = f"loss {loss}" if not math.isfinite(loss) else "the weights hold numbers that are none"
        raise UsageError(
            f"step {self.bad['step']} of epoch {self.bad['epoch'] + 1}: {what}; {ADVICE}; its batch is in {self.path}, "
            f"and {f'{last} is from before it' if last.exists() else 'there is no checkpoint yet'}"
        )


class Losses:
    """Those of the last steps, on their way to the memory of the host.

    Args:
        event: Makes what a GPU marks as done once it has copied a loss. None: the device copies at once.
    """

    def __init__(self, event: Callable[[], Any] | None = None) -> None:
        self.event = event
        memory = torch.zeros(AHEAD + 1, pin_memory=event is not None and torch.cuda.is_available())
        self.places, self.values = memory.unbind(), memory.numpy()  # the same memory, read without PyTorch
        self.waiting: deque[tuple[Step, int, Any]] = deque()
        self.count = 0

    def add(self, step: Step) -> None:
        """Copy the loss of a step as soon as it is known."""
        place = self.count % len(self.places)
        self.count += 1
        self.places[place].copy_(step["loss"].detach(), non_blocking=self.event is not None)
        arrival = self.event() if self.event else None
        if arrival is not None:
            arrival.record()
        self.waiting.append((step, place, arrival))

    def bad(self, wait: bool = False) -> Step | None:
        """The first step, of those not looked at, whose loss has arrived and is no number; ``wait`` for all of them."""
        while self.waiting:
            step, place, arrival = self.waiting[0]
            if arrival is not None and not arrival.query():
                if not wait and len(self.waiting) <= AHEAD:
                    return None
                arrival.synchronize()  # of a step so long ago that the GPU has others to go on with
            self.waiting.popleft()
            if not math.isfinite(self.values[place]):
                return step
        return None


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all floating-point numbers are finite; waits for the device once."""
    numbers = [tensor.detach() for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    largest = [tensor.abs().amax().float() for tensor in numbers]
    return not largest or bool(torch.stack(largest).isfinite().all())
