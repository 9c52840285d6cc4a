"""What the trainer costs per step: a network that does next to nothing, in a plain loop and with all that we add."""

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.utils.data import Dataset

from dotcom.bench.waits import Waits
from dotcom.config import register_resolvers
from dotcom.data import DataModule
from dotcom.errors import CONF
from dotcom.logged import due
from dotcom.loggers import quiet
from dotcom.tasks import Classification

SIDE, CLASSES, BATCH = 8, 10, 32
KEPT = 1024  # images in memory
WARM_UP = 20  # steps


class Null(nn.Module):
    """One linear layer, in the parts that callbacks expect of a network."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Flatten()
        self.head = nn.Linear(3 * SIDE * SIDE, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


class Noise(Dataset[Any]):
    """Images (3, 8, 8), uint8, that are in memory, and their labels.

    Args:
        size: How many; they repeat.
    """

    def __init__(self, size: int) -> None:
        draws = torch.Generator().manual_seed(0)
        self.images = list(torch.randint(256, (KEPT, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8))
        self.size = size
        self.classes = [str(number) for number in range(CLASSES)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index % KEPT], index % CLASSES


class Clock(L.Callback):
    """Reads the CPU time of the process at the beginning of each step."""

    def __init__(self) -> None:
        self.read: list[float] = []

    def on_train_batch_start(self, *args: Any) -> None:
        self.read.append(time.process_time())


class Steps(L.Callback):
    """Tells ``Waits`` which step it is, 0 for one that is logged or belongs to the end of an epoch."""

    def __init__(self, waits: Waits) -> None:
        self.waits = waits

    def on_train_batch_start(self, trainer: L.Trainer, *args: Any) -> None:
        self.waits.step = 0 if due(trainer) else trainer.global_step + 1

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.is_last_batch:
            self.waits.step = 0


def noise(steps: int) -> DataModule:
    """So many batches, through our loader and our normalisation."""

    def dataset(split: str, transform: Any) -> Noise:
        return Noise(BATCH * (steps if split == "train" else 1))

    return DataModule(dataset, nn.Identity(), nn.Identity(), CLASSES, BATCH, num_workers=0)


@cache
def default() -> DictConfig:
    """Our configuration, as it is without any setting, but on the CPU."""
    register_resolvers()
    only = ["hydra.run.dir=.", "run_name=bench", "output_dir=.", "hardware=cpu", "epochs=1"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=only)


def fit(
    steps: int,
    first: Sequence[L.Callback] = (),
    last: Sequence[L.Callback] = (),
    ema: float | None = None,
    every: int = 50,
) -> None:
    """Train the null network with everything that a run has by default.

    Args:
        steps: Of its only epoch.
        first: Callbacks before ours.
        last: Callbacks after ours.
        ema: As in the configuration.
        every: Steps from one that is logged to the next.
    """
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        changes = {"output_dir": folder, "trainer": {"log_every_n_steps": every}}
        config: Any = OmegaConf.to_container(OmegaConf.merge(default(), changes), resolve=True)
        optimizer, scheduler = instantiate(config["optimizer"]), instantiate(config["scheduler"])
        task = Classification(Null(), optimizer, scheduler, CLASSES, ema=ema)
        own, loggers = ([instantiate(part) for part in config[group].values()] for group in ("callbacks", "logger"))
        trainer = instantiate(config["trainer"], callbacks=[*first, *own, *last], logger=loggers)
        trainer.fit(task, noise(steps))


def trained(steps: int) -> float:
    """Milliseconds of CPU time per step in the trainer."""
    quiet()
    clock = Clock()
    fit(WARM_UP + steps + 1, last=[clock])
    return per_step(clock.read, steps)


def plain(steps: int) -> float:
    """Milliseconds of CPU time per step in the shortest loop that computes the same from the same batches."""
    quiet()
    network, data = Null(), noise(WARM_UP + steps + 1)
    make: Callable[..., torch.optim.Optimizer] = instantiate(default().optimizer)
    optimizer = make(network.parameters())
    data.setup("fit")
    read = []
    for batch in data.train_dataloader():
        read.append(time.process_time())
        images, labels = data.on_after_batch_transfer(batch, 0)
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return per_step(read, steps)


def per_step(read: Sequence[float], steps: int) -> float:
    """Milliseconds, of clock readings at the beginning of each step, after the warm-up."""
    return 1000 * (read[WARM_UP + steps] - read[WARM_UP]) / steps


def waits(
    steps: int, last: Sequence[L.Callback] = (), ema: float | None = None, every: int = 50
) -> list[tuple[int, str]]:
    """What would make a device wait in those steps that are not logged: (step, what)."""
    quiet()
    counted = Waits()
    with counted:
        fit(steps, [Steps(counted)], last, ema, every)
    return [(step, what) for step, what in counted.seen if step]
