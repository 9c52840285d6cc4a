"""Pictures of what a classifier sees: validation images with predicted and true labels."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor


class PredictionGrid(L.Callback):
    """Saves a grid of validation images as ``predictions.png`` and hands it to loggers that take pictures.

    Each image carries the predicted class with its probability, and the true class where they differ.

    Args:
        folder: Where the PNG goes.
        images: How many images, at most; the first of the validation split, so that runs can be compared.
    """

    def __init__(self, folder: str, images: int = 25) -> None:
        self.path = Path(folder) / "predictions.png"
        self.images = images
        self.seen: list[tuple[Tensor, int, int, float]] = []  # image, true, predicted, probability

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        wanted = self.images - len(self.seen)
        if wanted <= 0 or not trainer.is_global_zero:
            return
        probabilities, predicted = outputs[:wanted].float().softmax(dim=1).max(dim=1)
        rows = zip(batch[0][:wanted], batch[1].tolist(), predicted.tolist(), probabilities.tolist(), strict=False)
        self.seen += [(image.cpu(), true, guess, p) for image, true, guess, p in rows]

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        takers = [logger for logger in trainer.loggers if takes_pictures(logger)]
        final = trainer.state.fn != "fit"
        if trainer.sanity_checking or not trainer.is_global_zero or not (final or takers):
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        figure = draw_grid(self.seen, data.classes, torch.tensor(data.mean), torch.tensor(data.std))
        if final:
            figure.savefig(self.path, dpi=100)
        for logger in takers:
            log_picture(logger, "val/predictions", figure, trainer.global_step)


def draw_grid(seen: list[tuple[Tensor, int, int, float]], classes: list[str], mean: Tensor, std: Tensor) -> Figure:
    """One square per image; green titles are right, red ones wrong."""
    columns = max(1, min(5, len(seen)))
    rows = max(1, -(-len(seen) // columns))
    figure = Figure(figsize=(2.0 * columns, 2.25 * rows), layout="constrained")
    cells = figure.subplots(rows, columns, squeeze=False).flatten()
    for cell in cells:
        cell.axis("off")
    for cell, (image, true, guess, probability) in zip(cells, seen, strict=False):
        pixels = (image * std[:, None, None] + mean[:, None, None]).clamp(0, 1).permute(1, 2, 0)
        cell.imshow(pixels.float().numpy())
        title = f"{classes[guess]} {probability:.0%}"
        right = guess == true
        cell.set_title(
            title if right else f"{title}\nis {classes[true]}", fontsize=9, color="tab:green" if right else "tab:red"
        )
    return figure


def takes_pictures(logger: Any) -> bool:
    """Whether a Lightning logger has a place for images (W&B, TensorBoard)."""
    return hasattr(logger, "log_image") or hasattr(logger.experiment, "add_figure")


def log_picture(logger: Any, name: str, figure: Figure, step: int) -> None:
    """Hand a figure to W&B or TensorBoard under the same name."""
    if hasattr(logger, "log_image"):
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        logger.log_image(name, [np.asarray(canvas.buffer_rgba())], step=step)
    else:
        logger.experiment.add_figure(name, figure, step)
