"""How large the gradients are, stage by stage."""

from collections import defaultdict

import lightning as L
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

from dotcom.logged import due, gradient_norm


class GradientNorms(L.Callback):
    """Logs ``grad_norm/*``: the L2 norm over each stage of the backbone and over the head, before clipping.

    They are computed in those steps whose loss is logged; in all others nothing is, and no device has to wait.
    A part without gradients, such as a frozen backbone, is left out.
    """

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        if not trainer.loggers or not due(trainer):
            return
        parts: dict[str, list[Tensor]] = defaultdict(list)
        for name, parameter in pl_module.model.named_parameters():  # type: ignore[union-attr]
            if parameter.grad is not None:
                parts[gradient_norm(name)].append(parameter.grad)
        scale = scale_of_gradients(trainer, optimizer)
        pl_module.log_dict({name: get_total_norm(gradients) / scale for name, gradients in parts.items()})


def scale_of_gradients(trainer: L.Trainer, optimizer: Optimizer) -> float:
    """By which float16 has enlarged them: a fused optimiser takes that back within its own step, later than this."""
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    return float(scaler.get_scale()) if scaler is not None and fused else 1.0
