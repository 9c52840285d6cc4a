"""One validation of a checkpoint, as ``train.py fit=false`` does it, from the file alone."""

import sys
import time
import warnings
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import RichProgressBar

from dotcom.callbacks import EvaluatedImages
from dotcom.data.checkpoint import data_of
from dotcom.hardware import found, keep_memory
from dotcom.inference.class_mapping import answer_in_order, match_classes
from dotcom.inference.saved_run import SavedRun
from dotcom.loggers import quiet
from dotcom.models import from_checkpoint
from dotcom.models.weights import harmless
from dotcom.optim import constant
from dotcom.tasks import Classification, Detection, Segmentation
from dotcom.tasks.base import Task

TASKS: dict[str, type[Task]] = {task.__name__: task for task in (Classification, Detection, Segmentation)}
ELSEWHERE = (
    "_target_",
    "model",
    "optimizer",
    "scheduler",
    "teacher",
)  # settings of a task that evaluation brings itself


@dataclass(frozen=True)
class Evaluation:
    """What came out.

    Attributes:
        scores: By their log names, such as ``val/top1``; those of a moving average as ``val_ema/top1``.
        per_class: Scores of each class by its name; empty for classification.
        classes: The checkpoint's classes that the data have, which the scores are over.
        images: How many were looked at.
        seconds: How long it took, with reading.
    """

    scores: dict[str, float]
    per_class: dict[str, dict[str, float]]
    classes: list[str]
    images: int
    seconds: float


def evaluate(run: SavedRun, data_config: dict[str, Any]) -> Evaluation:
    """Validate, on the device and in the precision that ``hardware=auto`` takes.

    Classes are matched by name. If the data have fewer than the checkpoint knows, the network chooses among these.

    Args:
        run: The checkpoint; its task and network are built from our own parts alone.
        data_config: ``data`` of a configuration, as plain values.

    Raises:
        UsageError: If the data have a class that the checkpoint does not know.
    """
    quiet()
    warnings.filterwarnings("ignore", ".*callbacks used to create the checkpoint.*")  # those of its training
    options = {key: value for key, value in run.config["task"].items() if key not in ELSEWHERE}
    options |= {"channels_last": found("channels_last"), "compile": False}
    data = data_of({"data": data_config})
    data.load("val")
    order = match_classes(run.classes, data.classes)
    data.num_classes = len(order)
    options |= {key: len(order) for key in ("num_classes",) if key in options}
    options |= {key: None for key in ("class_weights",) if key in options}  # of the training loss
    network = from_checkpoint(run.path, ema=False)
    task = TASKS[run.task](network, optimizer=torch.optim.SGD, scheduler=constant, **options)
    if order != list(range(len(run.classes))):
        task.matched = True
        for each in task.evaluated.values():
            answer_in_order(each, order)
    live = sys.stderr.isatty()
    trainer = L.Trainer(
        accelerator=found("accelerator"),
        devices=1,
        precision=found("precision"),
        benchmark=True,
        logger=False,
        callbacks=[
            EvaluatedImages(),
            *([RichProgressBar(leave=False, console_kwargs={"stderr": True})] if live else []),
        ],
        enable_progress_bar=live,
        enable_checkpointing=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    if trainer.strategy.root_device.type == "cpu":
        keep_memory()
    started = time.perf_counter()
    with harmless():  # as reading the network itself
        (scores,) = trainer.validate(task, data, ckpt_path=run.path, verbose=False, weights_only=True)
    seconds = time.perf_counter() - started
    return Evaluation(dict(scores), task.per_class, data.classes, data.evaluated_images, seconds)
