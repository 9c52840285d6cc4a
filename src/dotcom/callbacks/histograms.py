"""What Co-Bias holds and what it does, as histograms over the course of a training."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import lightning as L
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor, nn
from torch.nn import functional as F

from dotcom.logged import SITES, activations, co_bias


class CoBiasHistograms(L.Callback):
    """Logs, in every validation, the values of all Co-Biases and of the activations before and after each first one.

    The activations are those of the first validation images, the same in every epoch. Networks without Co-Bias log
    nothing, and nothing is computed unless a logger takes histograms (W&B, TensorBoard).

    Args:
        images: How many.
    """

    def __init__(self, images: int = 16) -> None:
        self.images = images

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int, *args: Any
    ) -> None:
        if batch_idx or trainer.sanity_checking or not trainer.is_global_zero:
            return
        takers = [logger for logger in trainer.loggers if isinstance(logger, WandbLogger | TensorBoardLogger)]
        backbone: Any = pl_module.model.backbone  # type: ignore[union-attr]
        if takers and (values := biases(backbone)):
            values |= around_first(backbone, batch[0][: self.images])
            for logger in takers:
                log_histograms(logger, values, max(0, trainer.global_step - 1))  # the last step, as of val/loss


def biases(backbone: nn.Module) -> dict[str, Tensor]:
    """The values of each Co-Bias, (C,), by the name they are logged under."""
    named = ((name.rsplit(".", 2), parameter) for name, parameter in backbone.named_parameters())
    return {co_bias(*path[:2]): parameter.detach() for path, parameter in named if path[-2] in SITES}


def around_first(backbone: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """What goes into each first Co-Bias and what comes out, by the name it is logged under.

    The backbone is called by itself, which runs it as written even where the network around it is compiled.
    """
    seen: dict[str, Tensor] = {}

    def keep(block: str, _: nn.Module, given: tuple[Tensor], result: Tensor) -> None:
        seen.update({activations(block, "before"): given[0], activations(block, "after"): result})

    paths = [name.rsplit(".", 2)[0] for name, _ in backbone.named_parameters() if name.endswith(".bias_in.bias")]
    hooks = [backbone.get_submodule(f"{path}.bias_in").register_forward_hook(partial(keep, path)) for path in paths]
    if hooks:
        height, width = images.shape[-2:]
        backbone(F.pad(images, (0, -width % 32, 0, -height % 32)))  # segmentation has images of any size
    for hook in hooks:
        hook.remove()
    return seen


def log_histograms(logger: Any, values: Mapping[str, Tensor], step: int) -> None:
    """Hand the finite ones of the values to W&B or TensorBoard."""
    finite = {name: tensor[tensor.isfinite()].cpu().double() for name, tensor in values.items()}
    finite = {name: tensor for name, tensor in finite.items() if len(tensor)}
    if isinstance(logger, WandbLogger):
        import wandb

        arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in finite.items()}
        logger.log_metrics({name: wandb.Histogram(array) for name, array in arrays.items()}, step)  # type: ignore[misc]
    else:
        for name, tensor in finite.items():
            logger.experiment.add_histogram(name, tensor, step)
