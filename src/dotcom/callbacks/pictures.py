"""Pictures of what a network sees: validation images with what it predicts and what is true."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import matplotlib
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from dotcom.text import visible

Seen = tuple[Tensor, Any, Any]  # image (3, H, W) in [0, 1], target, what validation_step returned for it


class PredictionGrid(L.Callback):
    """Saves a grid of validation images as ``predictions.png`` and hands it to loggers that take pictures.

    As it stands, for classification: each image carries the predicted class with its probability, and the true class
    where they differ. Subclasses draw boxes and masks.

    Args:
        folder: Where the PNG goes.
        images: How many images, at most; the first of the validation split, so that runs can be compared.
    """

    columns = 5
    cell = (2.0, 2.25)  # inches

    def __init__(self, folder: str, images: int = 25) -> None:
        self.path = Path(folder) / "predictions.png"
        self.images = images
        self.seen: list[Seen] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        wanted = self.images - len(self.seen)
        if wanted <= 0 or not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
        for image, target, output in list(zip(*batch, outputs, strict=True))[:wanted]:
            image, target, output = move_data_to_device((image, target, output), torch.device("cpu"))
            self.seen.append(((image.float() * std + mean).clamp(0, 1), target, output))

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        takers = [logger for logger in trainer.loggers if takes_pictures(logger)]
        final = trainer.state.fn != "fit"
        if trainer.sanity_checking or not trainer.is_global_zero or not self.seen or not (final or takers):
            return
        classes: list[str] = trainer.datamodule.classes  # type: ignore[attr-defined]
        figure = self.draw(classes)
        if final:
            figure.savefig(self.path, dpi=100)
        for logger in takers:
            log_picture(logger, "val/predictions", figure, trainer.global_step)
            if hasattr(logger, "log_image") and (overlays := self.overlays(classes)):
                pictures = [image.permute(1, 2, 0).numpy() for image, _, _ in self.seen]
                logger.log_image("val/overlays", pictures, step=trainer.global_step, **overlays)

    def draw(self, classes: Sequence[str]) -> Figure:
        """One cell per image."""
        columns = max(1, min(self.columns, len(self.seen)))
        rows = max(1, -(-len(self.seen) // columns))
        figure = Figure(figsize=(self.cell[0] * columns, self.cell[1] * rows), layout="constrained")
        cells = figure.subplots(rows, columns, squeeze=False).flatten()
        for cell in cells:
            cell.axis("off")
        for cell, (image, target, output) in zip(cells, self.seen, strict=False):
            self.draw_cell(cell, image, target, output, classes)
        return figure

    def draw_cell(self, cell: Axes, image: Tensor, target: Any, output: Any, classes: Sequence[str]) -> None:
        """The image, titled with the prediction: green where it is right, red where it is wrong."""
        probability, guess = output.float().softmax(dim=0).max(dim=0)
        cell.imshow(image.permute(1, 2, 0).numpy())
        title = f"{visible(classes[int(guess)])} {float(probability):.0%}"
        right = int(guess) == int(target)
        cell.set_title(
            title if right else f"{title}\nis {visible(classes[int(target)])}",
            parse_math=False,  # dollar signs in a name are no formula
            fontsize=9,
            color="tab:green" if right else "tab:red",
        )

    def overlays(self, classes: Sequence[str]) -> dict[str, list[Any]]:
        """What W&B can lay over the images, as arguments of ``log_image``; none for labels."""
        return {}


def palette(count: int) -> list[tuple[float, float, float]]:
    """As many colours as classes, in [0, 1], the same in every picture of a run."""
    if count <= 11:  # one of them usually the ground, which has none
        return [matplotlib.colormaps["tab10"](i % 10)[:3] for i in range(count)]
    return [matplotlib.colormaps["hsv"](i / count)[:3] for i in range(count)]


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
