"""The average of a run's best checkpoints."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor


class AverageBest(L.Callback):
    """Keeps the weights of the best epochs, and at the end of training writes their average, ``average.ckpt``.

    What is averaged is the network and its moving average, if it has one; floating-point tensors, the running
    statistics of batch norm with them, in float64; whole numbers are those of the best epoch. Statistics measured
    anew after averaging (Section 3.2 of the second source) would cost a pass over the training data; epochs near the
    end of a decaying schedule have nearly the same. The weights are a part of every checkpoint, so that a run that was
    stopped goes on with all of them.

    Source: checkpoint averaging, Vaswani et al. (arXiv:1706.03762), Section 6.1; of weights along one training,
    Izmailov et al. (arXiv:1803.05407).
    Note: the epochs are chosen on the validation images, as ``best.ckpt`` is, so its score there is as flattered.

    Args:
        folder: Where the file goes.
        best: How many epochs; None or 0 for none, and no file.
        monitor: The metric that chooses them.
        mode: ``"max"`` or ``"min"``.
    """

    def __init__(self, folder: str, best: int | None, monitor: str, mode: str) -> None:
        self.path = Path(folder) / "average.ckpt"
        self.best, self.monitor, self.sign = best or 0, monitor, 1 if mode == "max" else -1
        self.kept: list[tuple[float, int, dict[str, Tensor]]] = []  # score, epoch, weights; the best first
        self.same_scores = True  # whether a checkpoint's epochs were chosen by this metric

    def state_dict(self) -> dict[str, Any]:
        return {"kept": self.kept} if self.best else {}

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        before = checkpoint.get("config", {}).get("callbacks", {}).get("average") or {}
        self.same_scores = before.get("monitor", self.monitor) == self.monitor

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        if not self.same_scores:
            return
        self.kept = [(score, epoch, weights) for score, epoch, weights in state_dict.get("kept", [])][: self.best]

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        score = float(trainer.callback_metrics[self.monitor])
        if self.best and score == score:
            self._keep(score, trainer.current_epoch, pl_module)

    def _keep(self, score: float, epoch: int, task: L.LightningModule) -> None:
        others = [entry for entry in self.kept if entry[1] != epoch]
        place = sum(self.sign * other >= self.sign * score for other, _, _ in others)  # among equals the earlier first
        if place < self.best:
            weights = {name: value.detach().cpu().clone() for name, value in task.state_dict().items()}
            self.kept = [*others[:place], (score, epoch, weights), *others[place:]][: self.best]

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.kept:
            pl_module.load_state_dict(averaged([weights for _, _, weights in self.kept]))
            trainer.save_checkpoint(self.path, weights_only=True)


def averaged(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of equally shaped weights, computed in float64; what is no floating-point tensor is of the first."""
    return {
        name: torch.stack([state[name].double() for state in states]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
