"""A training of a few steps whose logged rows are kept, and the configuration of any run."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from dotcom.callbacks import CoBiasHistograms, ConfusionMatrix, GradientNorms
from dotcom.config import register_resolvers
from dotcom.errors import CONF
from dotcom.models import Classifier
from dotcom.optim import constant
from dotcom.tasks import Classification

SMALL = ["hardware=cpu", "data.batch_size=2"]
FAKED = ["hydra.run.dir=.", "run_name=test", "output_dir=."]  # what only a run knows
CALLBACKS = (GradientNorms, CoBiasHistograms, ConfusionMatrix)


class Recorder:
    """Stands for a run of W&B: keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def last(self, name: str) -> Any:
        return next(row[name] for row in reversed(self.rows) if name in row)


def config_of(*overrides: str) -> dict[str, Any]:
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=[*FAKED, *overrides]), resolve=True)


def fit(
    tmp_path: Path, task: L.LightningModule, data: Any, loggers: Any, callbacks: Any = None, **settings: Any
) -> None:
    """Two steps, then one validation of two batches, unless told otherwise."""
    short = {"max_epochs": 1, "limit_train_batches": 2, "limit_val_batches": 2, "num_sanity_val_steps": 1}
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    callbacks = [callback() for callback in CALLBACKS] if callbacks is None else callbacks
    where = {"accelerator": "cpu", "default_root_dir": tmp_path, "logger": loggers, "callbacks": callbacks}
    sources = (data, data) if isinstance(data, DataLoader) else (data,)
    L.Trainer(**where | quiet | short | settings).fit(task, *sources)


def learner(network: Classifier) -> Classification:
    """A task of three classes, whose network has Co-Biases that do something."""
    for name, parameter in network.named_parameters():
        if ".bias_in." in name or ".bias_out." in name:
            nn.init.normal_(parameter)
    return Classification(network, partial(torch.optim.AdamW, lr=1e-2), constant, num_classes=3)


def noise() -> DataLoader:
    """Five batches of two noisy images, of three classes."""
    images = torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return DataLoader(list(zip(images, torch.arange(10) % 3, strict=True)), batch_size=2)
