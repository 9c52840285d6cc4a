"""What the tasks share: a network, the way it is optimised, its moving average, and its checkpoint."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torch.optim.swa_utils import AveragedModel

from dotcom.logged import due
from dotcom.optim import rate_factor
from dotcom.tasks.parameters import Decayed, grouped_optimizer


class Task(L.LightningModule):
    """Holds ``model`` and steps its optimiser and schedule once per batch.

    Args:
        model: The network.
        optimizer: Called with the network's parameters.
        scheduler: Called with the optimiser and ``total_steps=``.
        ema: Decay of an exponential moving average of the weights, in (0, 1), or None for no average. It is
            measured beside the network itself, as ``val_ema/*``.
        channels_last: Lay the weights out as (N, H, W, C), the fast order for convolutions.
        compile: Compile the network with ``torch.compile``: True or a mode of it, such as ``"reduce-overhead"``.
        backbone_lr: Learning rate of ``model.backbone`` as a fraction of that of everything else.
        layer_decay: As in ``grouped_optimizer``.
        decayed: As in ``grouped_optimizer``.

    Attributes:
        config: Plain values from which the run was made; saved in every checkpoint under ``config``.
        per_class: Scores of each class by name, after a validation of a task that has them.
        matched: The network's answers have been put in the order of the data's classes, so that a checkpoint of other
            classes is no mistake; for evaluation alone.
    """

    matched = False

    def __init__(
        self,
        model: nn.Module,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler],
        ema: float | None = None,
        channels_last: bool = False,
        compile: bool | str = False,
        backbone_lr: float = 1.0,
        layer_decay: float = 1.0,
        decayed: Decayed = "all",
    ) -> None:
        super().__init__()
        if channels_last:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        self.ema = MovingAverage(model, ema) if ema else None
        if self.ema is not None:
            self.ema.requires_grad_(False)
        if compile:
            model.compile(mode="default" if compile is True else compile)  # in place: the names of the weights stay
        self.make_optimizer = partial(
            grouped_optimizer, optimizer, backbone_lr=backbone_lr, layer_decay=layer_decay, decayed=decayed
        )
        self.make_scheduler = scheduler
        self.asked: list[dict[str, Any]] = []  # settings of each group of parameters, as the configuration has them
        self.config: dict[str, Any] = {}
        self.per_class: dict[str, dict[str, float]] = {}

    @property
    def evaluated(self) -> dict[str, nn.Module]:
        """The networks that validation measures, by the prefix of their log names."""
        return {"val": self.model} if self.ema is None else {"val": self.model, "val_ema": self.ema.module}

    @property
    def logs(self) -> bool:
        """Whether what a training step logs is wanted: in logging steps, and for the line at the end of an epoch."""
        return due(self.trainer) or self.trainer.is_last_batch

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = self.make_optimizer(self.model)
        for group in optimizer.param_groups:
            group["lr"] *= rate_factor(self.config, self.trainer.world_size)
        self.asked = [settings_of(group) for group in optimizer.param_groups]
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = self.make_scheduler(optimizer, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step", "name": "lr"}}

    def on_train_start(self) -> None:
        for optimizer in self.trainer.optimizers:
            renew(optimizer, self.asked)
        scheduler: Any = self.lr_schedulers()
        if isinstance(scheduler, LambdaLR):  # a resumed, longer run is on another schedule than its checkpoint's rate
            scheduler.base_lrs = [group["lr"] for group in self.asked]
            rates = zip(scheduler.optimizer.param_groups, scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
            for group, base, factor in rates:
                group["lr"] = base * factor(scheduler.last_epoch)
        trainer: Any = self.trainer
        steps = trainer.num_training_batches // trainer.accumulate_grad_batches
        trainer.log_every_n_steps = max(1, min(trainer.log_every_n_steps, steps))  # a short epoch is logged too

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update_parameters(self.model)

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if getattr(self.trainer.precision_plugin, "scaler", None) is not None:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)
        elif gradient_clip_val:  # Lightning refuses fused optimisers, but only a gradient scaler makes them a problem
            nn.utils.clip_grad_norm_(self.model.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["classes"] = self.classes

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("classes") or self.classes
        if saved != self.classes and not self.matched:
            new, old = next((a, b) for a, b in zip_longest(self.classes, saved) if a != b)
            raise ValueError(f"ckpt_path: it knows class {old!r} where these data have {new!r}; expected equal classes")

    @property
    def classes(self) -> list[str]:
        """Names of the classes, from the data; empty without a data module."""
        data: Any = getattr(self.trainer, "datamodule", None)
        return data.classes if data else []


def settings_of(group: dict[str, Any]) -> dict[str, Any]:
    """What a group of an optimiser holds besides its parameters: ``lr``, ``weight_decay``, ``betas`` and so on."""
    return {key: value for key, value in group.items() if key not in ("params", "initial_lr")}


def renew(optimizer: Optimizer, asked: Sequence[dict[str, Any]]) -> None:
    """Give an optimiser the settings that were asked for, in place of those that its state from a checkpoint brought.

    Its moments stay. They are loaded once more, for ``fused`` has a say in where the count of steps lies.

    Args:
        optimizer: With the groups of parameters of ``asked``.
        asked: The settings of each group; ``lr`` is its peak, from which the schedule starts (``initial_lr``).
    """
    now = [settings_of(group) | {"lr": group.get("initial_lr", group["lr"])} for group in optimizer.param_groups]
    if now != list(asked):
        state = optimizer.state_dict()
        for group, settings in zip(state["param_groups"], asked, strict=True):
            group |= settings | {"initial_lr": settings["lr"]}
        optimizer.load_state_dict(state)


class MovingAverage(AveragedModel):
    """Of all weights and buffers of a network.

    Note: ``AveragedModel`` reads its count of updates in each step, and the count is on the device, which would have to
        wait. Here Python counts, too.

    Args:
        model: The network; it is copied.
        decay: As in ``Average``.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.average = Average(decay)
        super().__init__(model, use_buffers=True)
        self.updates: int | None = 0  # None where a checkpoint says it, until it is read

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.updates = None

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        updates = int(self.n_averaged) if self.updates is None else self.updates
        averages = [*self.module.parameters(), *self.module.buffers()]
        values = [*model.parameters(), *model.buffers()]
        if updates:
            self.average(averages, values, updates)
        else:
            torch._foreach_copy_(averages, values)
        self.updates = updates + 1
        self.n_averaged += 1


class Average:
    """Exponential moving average with warm-up, over lists of tensors.

    After n updates the decay is min(decay, (1 + n) / (10 + n)), so that the first, random weights are soon
    forgotten. Integer buffers, such as batch norm's counter, are copied.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"ema is a decay in (0, 1), for example 0.999, got {decay}")
        self.decay = decay

    @torch.no_grad()
    def __call__(self, averages: Sequence[Tensor], values: Sequence[Tensor], updates: int) -> None:
        decay = min(self.decay, (1 + updates) / (10 + updates))
        pairs = list(zip(averages, values, strict=True))
        moving = [pair for pair in pairs if pair[0].is_floating_point()]
        if moving:
            torch._foreach_lerp_([average for average, _ in moving], [value for _, value in moving], 1 - decay)
        for average, value in pairs:
            if not average.is_floating_point():
                average.copy_(value)
